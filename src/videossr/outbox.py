"""Metrics that could not be sent: kept on disk, a file a run, until the tracking server answers again."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Point:
    """The metrics of one step, and when they were measured: milliseconds since 1970."""

    step: int
    milliseconds: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Letter:
    """What one run could not say. `run_id` is empty where not even the run could be made."""

    path: Path
    run_id: str
    stage: str
    params: Mapping[str, Any]
    points: tuple[Point, ...]


class Outbox:
    """The unsent points of one run: the first line of its file says whose they are, each further line is a point."""

    def __init__(self, folder: Path, run_id: str, stage: str, params: Mapping[str, Any]) -> None:
        self._path = folder / f"{run_id or uuid.uuid4().hex}.jsonl"
        self._header = {"run_id": run_id, "stage": stage, "params": dict(params)}

    def put(self, point: Point) -> None:
        """Keep a point; the file is made with the first."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if self._path.exists() else [self._header]
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in [*lines, asdict(point)])


def letters(folder: Path) -> Iterator[Letter]:
    """Everything unsent in `folder`; a last line that a kill tore is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        header, *points = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if _whole(line)]
        yield Letter(path, **header, points=tuple(Point(**point) for point in points))


def _whole(line: str) -> bool:
    return line.count("{") == line.count("}") > 0
