"""Results that MLflow could not record: one file per run, stored until the MLflow database works again."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videossr.storage.jsonl import append_jsonl, read_jsonl


@dataclass(frozen=True)
class Point:
    """The metrics of one step, and when they were measured (milliseconds since 1970)."""

    step: int
    milliseconds: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class PendingRun:
    """The results of one run that MLflow has not recorded.

    `run_id` is empty when MLflow could not create the run. `status` is empty when the process was killed before the run
    ended.
    """

    path: Path
    run_id: str
    stage: str
    params: Mapping[str, Any]
    status: str
    points: tuple[Point, ...]


class Outbox:
    """Writes the file of one pending run.

    The first line identifies the run. Every other line is a point, or the status with which the run ended.
    """

    def __init__(self, folder: Path, run_id: str, stage: str, params: Mapping[str, Any]) -> None:
        self._path = folder / f"{run_id or uuid.uuid4().hex}.jsonl"
        self._header = {"run_id": run_id, "stage": stage, "params": dict(params)}
        self._has_header = False

    def add_point(self, point: Point) -> None:
        """Append a point. The first line written creates the file."""
        self._append(asdict(point))

    def add_status(self, status: str) -> None:
        """Append how the run ended: FINISHED, FAILED or KILLED."""
        self._append({"status": status})

    def _append(self, row: Mapping[str, Any]) -> None:
        self._has_header = self._has_header or bool(read_jsonl(self._path))
        append_jsonl(self._path, [row] if self._has_header else [self._header, row])
        self._has_header = True


def pending_runs(folder: Path) -> Iterator[PendingRun]:
    """Read all pending runs in `folder`. A last line that a kill left incomplete is ignored."""
    for path in sorted(folder.glob("*.jsonl")):
        lines = read_jsonl(path)
        if not lines:
            continue  # a kill came before the first complete line
        header, *rows = lines
        points = tuple(Point(**row) for row in rows if "step" in row)
        status = rows[-1].get("status", "") if rows else ""  # only the last line: a run may be resumed after its end
        yield PendingRun(path, **header, status=status, points=points)
