"""Metrics that could not be sent: kept on disk, a file a run, until the tracking server answers again."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videossr.storage.jsonl import append_jsonl, read_jsonl


@dataclass(frozen=True)
class Point:
    """The metrics of one step, and when they were measured: milliseconds since 1970."""

    step: int
    milliseconds: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class PendingRun:
    """What one run could not say. `run_id` is empty where not even the run could be made, `status` where it was cut off
    before it ended."""

    path: Path
    run_id: str
    stage: str
    params: Mapping[str, Any]
    status: str
    points: tuple[Point, ...]


class Outbox:
    """What is unsent of one run: the first line of its file says whose it is, each further line is a point, or how the
    run ended."""

    def __init__(self, folder: Path, run_id: str, stage: str, params: Mapping[str, Any]) -> None:
        self._path = folder / f"{run_id or uuid.uuid4().hex}.jsonl"
        self._header = {"run_id": run_id, "stage": stage, "params": dict(params)}
        self._has_header = False

    def put(self, point: Point) -> None:
        """Keep a point; the file is made with the first line."""
        self._append(asdict(point))

    def end(self, status: str) -> None:
        """Keep how the run ended: FINISHED, FAILED or KILLED."""
        self._append({"status": status})

    def _append(self, content: Mapping[str, Any]) -> None:
        self._has_header = self._has_header or bool(read_jsonl(self._path))
        append_jsonl(self._path, [content] if self._has_header else [self._header, content])
        self._has_header = True


def pending_runs(folder: Path) -> Iterator[PendingRun]:
    """Everything unsent in `folder`; a last line that a kill tore is passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        lines = read_jsonl(path)
        if not lines:
            continue  # a kill came before the first whole line
        header, *rest = lines
        points = tuple(Point(**line) for line in rest if "step" in line)
        status = rest[-1].get("status", "") if rest else ""  # a run that went on after it had ended has not ended
        yield PendingRun(path, **header, status=status, points=points)
