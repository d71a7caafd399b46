"""A file that changes while it is read is noticed: what was read is then neither the old file nor the new one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videossr.errors import DecodeError


@contextmanager
def require_unchanged(path: Path) -> Iterator[None]:
    """Raise DecodeError("changed_while_read") where `path` is another file, or of other size or time, afterwards.

    Whatever the body raised is then a consequence. OSError where the file is gone.
    """
    before = _mark(path)
    try:
        yield
    finally:
        if _mark(path) != before:
            raise DecodeError("changed_while_read", "the file is still being written: run ingest again later")


def _mark(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
