"""What every benchmark tells: rows of ours against theirs, as a table and as a JSON list."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is how many times better ours is."""

    name: str
    ours: float
    theirs: float
    ratio: float
    unit: str


def show(rows: Sequence[Row], title: str) -> None:
    table = Table("", "ours", "theirs", "times better", "unit", title=title)
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.theirs:.4g}", f"{row.ratio:.3g}", row.unit)
    Console().print(table)


def put(path: Path, rows: Sequence[Row]) -> None:
    """Write rows in the place of older ones of their names; the others stay."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    new = {row.name: row for row in rows}
    known = [new.pop(row["name"], None) or row for row in kept]
    write(path, [*known, *new.values()])


def write(path: Path, rows: Sequence[Row | Mapping[str, Any]]) -> None:
    """Write a JSON list, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = [asdict(row) if isinstance(row, Row) else dict(row) for row in rows]
    unfinished = path.with_name(path.name + ".partial")
    unfinished.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)
