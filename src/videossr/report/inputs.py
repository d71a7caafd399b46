"""The inputs of the report: the outputs of the earlier stages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videossr.clip import Clip
from videossr.dataset.samples import read_samples
from videossr.errors import VideoSSRError
from videossr.evaluation.runner import read_scored_replies
from videossr.evaluation.viubench import COLUMNS, ROWS
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.records import FrameTimes, RejectedFile, Sample, ScoredReply, Video
from videossr.storage.quarantine import read_quarantine

Json = dict[str, Any]


@dataclass(frozen=True)
class ReportInputs:
    """The outputs of the stages: records of the data, and the JSON of gate, training and VIUBench.

    `scored` maps a row of VIUBench (`viubench.ROWS`) to its scored replies; `downstream` holds the records of the
    other benchmarks.
    """

    videos: Sequence[Video]
    rejected: Sequence[RejectedFile]
    train: Sequence[Sample]
    bench: Sequence[Sample]
    stored_videos: Sequence[FrameTimes]
    store: Mapping[str, Clip]
    gate: Json
    curves: Json
    results: Json
    scored: Mapping[str, Sequence[ScoredReply]]
    downstream: Json

    @property
    def bench_videos(self) -> list[FrameTimes]:
        """The frame times of the stored benchmark videos."""
        bench = {video.video_id for video in self.videos if video.split == "bench"}
        return [video for video in self.stored_videos if video.video_id in bench]


def load_inputs(root: Path) -> ReportInputs:
    """Read the outputs of all stages below the project's `root`.

    Raises VideoSSRError naming the stage to run where a file is missing or damaged.
    """
    data, reports = root / "data", root / "reports"
    results = read_json(reports / "viubench.json", ("columns", "rows", "gain"), "evaluate")
    _check_rows(results, reports / "viubench.json")
    curves = _read_curves(reports / "train.json")
    store = FrameStore(data / "frames")
    rejected = read_quarantine(data / "quarantine.parquet")
    return ReportInputs(
        videos=read_manifest(data / "manifest.parquet"),
        rejected=sorted(rejected, key=lambda item: (item.reason, item.path)),
        train=read_samples(data / "samples" / "train.parquet"),
        bench=read_samples(data / "samples" / "viubench.parquet"),
        stored_videos=store.frame_times(),
        store=store,
        gate=read_json(reports / "gate.json", ("success",), "validate"),
        curves=curves,
        results=results,
        scored={path.stem: read_scored_replies(path) for path in sorted((reports / "evaluate").glob("*.jsonl"))},
        downstream=read_json(reports / "downstream.json", ("rows", "gains", "made", "frames"), "downstream"),
    )


def read_json(path: Path, keys: Sequence[str], stage: str) -> Json:
    """Read a JSON object that has at least `keys`; raises VideoSSRError naming the `stage` that writes it."""
    remedy = f"run `dvc repro {stage}` to write it again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VideoSSRError(f"there is no {path} to report on: {remedy}") from None
    except ValueError as error:
        raise VideoSSRError(f"{path} is not valid JSON ({error}): {remedy}") from None
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise VideoSSRError(f"{path} must be an object with {', '.join(keys) or 'named curves'}: {remedy}")
    return content


def _check_rows(results: Json, path: Path) -> None:
    required = {*COLUMNS, "overall", "n", "videos", "unparsed", "ci95", "count_correlation"}
    for name in ROWS:
        row = results["rows"].get(name)
        if not isinstance(row, dict) or not required <= row.keys():
            raise VideoSSRError(f"{path} lacks a complete row '{name}': run `dvc repro evaluate` to write it again")


def _read_curves(path: Path) -> Json:
    """Read train.json. A curve that was not logged is empty; a damaged row raises VideoSSRError."""
    curves = read_json(path, (), "train")
    for phase in ("warmup", "grpo"):
        rows = curves.setdefault(phase, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "step" in row for row in rows):
            raise VideoSSRError(f"{path}: '{phase}' must be a list of rows with a step: run `dvc repro train` again")
    return curves
