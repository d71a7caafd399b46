"""A table without frames, so that eight columns of numbers fit a terminal of 80."""

from collections.abc import Sequence

from rich import box
from rich.table import Table


def narrow_table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table with columns of text, then columns of numbers; a cell that is too long goes on in the next line.

    `title` may be empty.
    """
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.show_edge = False
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
