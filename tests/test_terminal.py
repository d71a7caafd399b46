"""No file name, reply or message from elsewhere reaches the terminal with codes that it obeys."""

import os
import subprocess
import sys

import pytest

from videossr.terminal import printable

HOSTILE = "a\x1b]0;owned\x07\nfake: all passed\x9b31m\u202egpj\udcff.mp4"
ESCAPED = r"a\x1b]0;owned\x07\nfake: all passed\x9b31m\u202egpj\udcff.mp4"


def test_control_and_undecodable_characters_become_escapes_and_other_text_stays():
    assert printable(HOSTILE) == ESCAPED
    assert printable("ünï 日本 #1: 'yes' 🎥 \\x1b") == "ünï 日本 #1: 'yes' 🎥 \\x1b"


MAIN = "from videossr.cli import main; main()"


def run(program: str, *arguments: str, **environment: str) -> str:
    """Standard output and error of a Python program."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})
    return (done.stdout + done.stderr).decode("utf-8")


@pytest.mark.parametrize(
    "stage",
    [
        "import logging; logging.getLogger('videossr.ingest').warning('%s was rejected', NAME)",
        "from videossr.errors import SourceError; raise SourceError(NAME)",
        "raise PermissionError(13, 'no', NAME)",
    ],
)
def test_the_log_and_the_error_of_a_stage_are_printable(stage):
    program = f"from flows.runtime import run_stage\nNAME = {HOSTILE!r}\ndef stage():\n    {stage}\n"
    assert ESCAPED in run(f"{program}run_stage(stage, 'ingest')")


def test_the_error_of_a_command_is_printable(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ESCAPED in run(MAIN, "use", HOSTILE)


def test_a_terminal_without_utf_8_shows_escapes_and_no_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}
    output = run(MAIN, "check", "ünï/x.yaml", **locale)
    assert "no parameters at" in output and "Traceback" not in output
