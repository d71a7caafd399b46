"""The only way to write a file or a folder: under a temporary name beside it, then renamed.

A reader never sees half a file. A file is never written over in place: DVC's cache may be hard-linked to it.
"""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videossr.errors import StoreError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn an OSError that means "no space left" into a StoreError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise StoreError(f"no space is left to write {path}: free some and run again; finished work is kept") from None


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; when the body ends without an error, it becomes `path`.

    A missing folder is created. After an error `path` is unchanged. Raises StoreError where the disk is full.
    """
    temporary = path.with_name(path.name + ".partial")
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # left by a run that was killed
        yield temporary
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; when the body ends without an error, it replaces `path`.

    Raises StoreError where the disk is full.
    """
    temporary = path.with_name(path.name + ".partial")
    with explain_full_disk(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)


def copy_file(source: Path, target: Path) -> None:
    """Replace `target` by a new file with the bytes of `source`. Raises StoreError where the disk is full."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises StoreError where the disk is full."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all. Raises StoreError where the disk is full."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write a value as JSON, whole or not at all. Raises StoreError where the disk is full."""
    write_text(path, json.dumps(value, indent=indent))
