"""Parquet files, written whole or not at all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.storage.atomic import atomic_file


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whole or not at all. Raises StoreError where the disk is full."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)
