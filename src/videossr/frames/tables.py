"""Parquet files written whole or not at all; the quarantine."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import StoreError
from videossr.records import Rejected

_QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


def write_quarantine(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write one parquet row a file that cannot be used: path, reason, detail."""
    write_table(path, pa.Table.from_pylist([asdict(item) for item in rejected], _QUARANTINE_SCHEMA))


def read_quarantine(path: Path) -> list[Rejected]:
    """The rows of a quarantine. Raises StoreError where there is none."""
    try:
        return [Rejected(**row) for row in pq.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise StoreError(f"no quarantine at {path}: run the ingest stage") from None


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    pq.write_table(table, unfinished)
    unfinished.replace(path)
