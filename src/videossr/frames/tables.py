"""Parquet files written whole or not at all; the quarantine."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import StoreError
from videossr.records import Rejected

_QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_quarantine(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write one parquet row a file that cannot be used: path, reason, detail."""
    write_table(path, pa.Table.from_pylist([asdict(item) for item in rejected], _QUARANTINE_SCHEMA))


def read_quarantine(path: Path) -> list[Rejected]:
    """The rows of a quarantine. Raises StoreError where there is none."""
    try:
        return [Rejected(**row) for row in pq.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise StoreError(f"no list of refused files at {path}: run the stage that writes it (make run)") from None


@contextmanager
def told_where_full(path: Path) -> Iterator[None]:
    """Raise StoreError, one sentence, where there is no room left to write `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StoreError(
            f"no room is left to write {path}: free some space and run again, what is done is kept"
        ) from None


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whole or not at all."""
    unfinished = path.with_name(path.name + ".partial")
    with told_where_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, unfinished)
        unfinished.replace(path)
