"""The quarantine: the table of rejected files, one row per file that cannot be used."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import StoreError
from videossr.records import RejectedFile
from videossr.storage.tables import write_table

_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


def write_quarantine(path: Path, rejected: Sequence[RejectedFile]) -> None:
    """Write one parquet row per rejected file: path, reason, detail."""
    write_table(path, pa.Table.from_pylist([asdict(item) for item in rejected], _SCHEMA))


def read_quarantine(path: Path) -> list[RejectedFile]:
    """The rows of a quarantine. Raises StoreError if the file is missing."""
    try:
        return [RejectedFile(**row) for row in pq.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise StoreError(f"no list of rejected files at {path}: run the stage that writes it (make run)") from None
