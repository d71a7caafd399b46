"""The rows that a benchmark reports, ours against theirs: as a table and as a JSON list."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from videossr.storage.atomic import write_json


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is how many times better ours is."""

    name: str
    ours: float
    theirs: float
    ratio: float
    unit: str


def print_rows(rows: Sequence[Row], title: str) -> None:
    table = Table("", "ours", "theirs", "times better", "unit", title=title)
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.theirs:.4g}", f"{row.ratio:.3g}", row.unit)
    Console().print(table)


def update_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` to a JSON list, each in place of an older row of its name; other rows stay."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    new = {row.name: row for row in rows}
    merged = [new.pop(row["name"], None) or row for row in old]
    write_rows(path, [*merged, *new.values()])


def write_rows(path: Path, rows: Sequence[Row | Mapping[str, Any]]) -> None:
    """Write a JSON list, whole or not at all."""
    write_json(path, [asdict(row) if isinstance(row, Row) else dict(row) for row in rows], indent=2)
