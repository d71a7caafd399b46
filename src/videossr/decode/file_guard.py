"""Detect a file that changes while it is read: the result then belongs neither to the old file nor to the new one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videossr.errors import DecodeError

FileState = tuple[int, int, int]


@contextmanager
def require_unchanged(path: Path) -> Iterator[None]:
    """Raise DecodeError("changed_while_read") if the inode, size or modification time of `path` changes in the body.

    This error replaces any error of the body, because the change explains it. Raises OSError if the file was deleted.
    """
    before = file_state(path)
    try:
        yield
    finally:
        if file_state(path) != before:
            raise DecodeError("changed_while_read", "the file is still being written: run ingest again later")


def file_state(path: Path) -> FileState:
    """Inode, size and modification time of a file. Raises OSError if there is none."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
