"""What is printed: file names and replies come from elsewhere, and may hold codes that a terminal obeys.

An escape sequence can change the window's title, hide text or answer a prompt; a line break can forge a message.
"""

import logging
import sys


def printable(text: str) -> str:
    """`text` on one line, with control, format and undecodable characters as escapes: `a\\nb`, `\\x1b]0;`."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


class _PrintableRecord(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802 (the name is that of logging)
        message = super().getMessage()
        return printable(message) if self.name.split(".")[0] == "videossr" else message


def configure_output() -> None:
    """Log messages of this package are printable, and no character stops a print, whatever the locale can encode."""
    logging.setLogRecordFactory(_PrintableRecord)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a stream that replaces the terminal may be of another class
            stream.reconfigure(errors="backslashreplace")
