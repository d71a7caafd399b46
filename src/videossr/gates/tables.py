"""Records as tables: one row a record, and one column for each fact that a rule needs.

Everything that needs Python is computed here, once a row; the suites only compare columns. A missing or not finite
number becomes -1, which no rule allows, because column expectations ignore nulls.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from videossr.clip import Clip
from videossr.gates import edit_rules
from videossr.records import VIDEO_MARKER, FrameTimes, RejectedFile, Sample, Video

SETS = {"train": "train", "viubench": "bench"}  # a set of samples -> the split whose videos it may use


class StoredFrames(Protocol):
    """What the gate needs of a frame store: clips by video id, and all frame times without reading a frame."""

    def __getitem__(self, video_id: str, /) -> Clip: ...

    def frame_times(self) -> list[FrameTimes]: ...


@dataclass(frozen=True)
class GateContext:
    """What samples are checked against: the split and the frame times of each video, and the tasks by name."""

    split_of: Mapping[str, str]
    times_of: Mapping[str, tuple[float, ...]]
    tasks: Mapping[str, Any]

    @classmethod
    def of(
        cls, manifest: Iterable[Video], stored_videos: Iterable[FrameTimes], tasks: Mapping[str, Any]
    ) -> "GateContext":
        splits = {video.video_id: str(video.split) for video in manifest}
        return cls(splits, {video.video_id: video.times for video in stored_videos}, tasks)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Every known "task/variant"."""
        return frozenset(f"{name}/{variant}" for name, task in self.tasks.items() for variant in task.variants)


def manifest_table(
    manifest: Sequence[Video], stored_videos: Sequence[FrameTimes], quarantine: Sequence[RejectedFile]
) -> pd.DataFrame:
    """One row a usable video: the fields of `Video`, and whether it is stored or rejected with a reason."""
    stored, rejected = {video.video_id for video in stored_videos}, {file.path for file in quarantine}
    rows = [{key: _finite(value) for key, value in asdict(video).items()} for video in manifest]
    table = pd.DataFrame(rows, columns=[field.name for field in fields(Video)])
    return table.assign(accounted_for=table["video_id"].isin(stored) | table["path"].isin(rejected))


def quarantine_table(
    quarantine: Sequence[RejectedFile], manifest: Sequence[Video], stored_videos: Sequence[FrameTimes]
) -> pd.DataFrame:
    """One row a rejected file, and whether it is in the store nevertheless."""
    ids = {video.video_id for video in stored_videos}
    stored = {video.path for video in manifest if video.video_id in ids}
    rows = [{**asdict(file), "stored": file.path in stored} for file in quarantine]
    return pd.DataFrame(rows, columns=["path", "reason", "detail", "stored"])


def source_table(manifest: Sequence[Video], quarantine: Sequence[RejectedFile]) -> pd.DataFrame:
    """One row: the whole source, and the share of its files that are rejected."""
    # A video that the stage frames rejected is in both: in the manifest by ingest, in the quarantine by frames.
    num_files = len({video.path for video in manifest} | {file.path for file in quarantine})
    share = len(quarantine) / num_files if num_files else 1.0
    return pd.DataFrame([{"source": "all files", "num_files": num_files, "share_quarantined": share}])


def store_table(
    manifest: Sequence[Video], stored_videos: Sequence[FrameTimes], sets: Mapping[str, Sequence[Sample]]
) -> pd.DataFrame:
    """One row a stored video: its frame times and its duration, and the sets of samples that use it."""
    videos = {video.video_id: video for video in manifest}
    usual = Counter(len(video.times) for video in stored_videos).most_common(1)
    served = {
        name: {used for sample in samples for used in edit_rules.videos_used(sample)} for name, samples in sets.items()
    }
    rows = [_store_row(video, videos.get(video.video_id), usual[0][0], served) for video in stored_videos]
    return pd.DataFrame(rows, columns=_STORE_COLUMNS)


_STORE_COLUMNS = (
    "video_id", "in_manifest", "num_frames", "usual_num_frames", "first_seconds", "last_seconds",
    "shortest_step_seconds", "end_seconds", "serves",
)  # fmt: skip


def _store_row(stored: FrameTimes, video: Video | None, usual: int, served: Mapping[str, set[str]]) -> dict[str, Any]:
    times = np.asarray(stored.times, np.float64)
    steps = np.diff(times)
    # Containers round their duration, and the last frame is shown for stored more step.
    end = video.duration_seconds + 2 / video.fps if video and video.fps > 0 else math.inf
    return {
        "video_id": stored.video_id,
        "in_manifest": video is not None,
        "num_frames": len(times),
        "usual_num_frames": usual,
        "first_seconds": _finite(float(times.min())) if len(times) else -1.0,
        "last_seconds": float(times.max()) if len(times) else math.inf,
        "shortest_step_seconds": _finite(float(steps.min())) if len(steps) else -1.0,
        "end_seconds": end,
        "serves": " and ".join(name for name, videos in served.items() if stored.video_id in videos) or "nothing",
    }


def samples_table(
    samples: Sequence[Sample], split: str, elsewhere: Iterable[str], context: GateContext, clips: Mapping[str, int]
) -> pd.DataFrame:
    """One row a sample. `elsewhere` are the sample ids of the other sets; `clips` the number of clips of each kind."""
    other_ids = set(elsewhere)
    rows = [_sample_row(sample, split, sample.sample_id in other_ids, context, clips) for sample in samples]
    return pd.DataFrame(rows, columns=_SAMPLE_COLUMNS)


_SAMPLE_COLUMNS = (
    "sample_id", "elsewhere", "task", "variant", "kind", "video_id", "edit", "question", "answer", "markers", "clips",
    "edit_fault", "not_stored", "outside_split", "derived",
)  # fmt: skip


def _sample_row(
    sample: Sample, split: str, elsewhere: bool, context: GateContext, clips: Mapping[str, int]
) -> dict[str, Any]:
    kind = sample.kind
    used = edit_rules.videos_used(sample)
    return {
        "sample_id": sample.sample_id,
        "elsewhere": elsewhere,
        "task": sample.task,
        "variant": sample.variant,
        "kind": kind,
        "video_id": sample.video_id,
        "edit": _json(sample.edit),
        "question": sample.question,
        "answer": sample.answer,
        "markers": sample.question.count(VIDEO_MARKER),
        "clips": clips.get(kind),
        "edit_fault": edit_fault(sample, context),
        "not_stored": _joined(video for video in used if video not in context.times_of),
        "outside_split": _joined(video for video in used if context.split_of.get(video) != split),
        "derived": derived_answer(sample, context),
    }


def derived_answer(sample: Sample, context: GateContext) -> str | None:
    """The answer that follows from the edit and the frame times; None where the edit gives none."""
    times = context.times_of.get(sample.video_id)
    if times is None or sample.kind not in context.kinds:
        return sample.answer  # the rule on kinds or on the store names it: one fault, one rule
    try:
        return str(context.tasks[sample.task].answer(sample.edit, times))
    except edit_rules.UNREADABLE:
        return None


def edit_fault(sample: Sample, context: GateContext) -> str | None:
    """A sentence about what is wrong with the edit under the parameters of its task; None where nothing is."""
    times = context.times_of.get(sample.video_id)
    if times is None or sample.kind not in context.kinds or sample.task not in edit_rules.FAULTS:
        return None  # the rule on kinds or on the store names it
    task = context.tasks[sample.task]
    try:
        return next(iter(edit_rules.FAULTS[sample.task](sample, task, len(times))), None)
    except edit_rules.UNREADABLE as error:
        return f"unreadable: {type(error).__name__} {error}"


def _json(edit: Mapping[str, Any]) -> str:
    try:
        return json.dumps(edit, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"not JSON: {error}"


def _finite(value: Any) -> Any:
    return -1 if isinstance(value, float) and not math.isfinite(value) else value


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(names)) or None
