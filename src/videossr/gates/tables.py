"""Records as tables of facts: one row a record, and one column for each thing a rule asks about it.

Whatever needs Python is worked out here, once for each row; the suites only compare columns. Numbers that are absent
or not finite become -1 (no rule allows it), because column expectations pass over nulls.
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
from videossr.gates import edits
from videossr.records import VIDEO_MARKER, FrameTimes, RejectedFile, Sample, Video

SETS = {"train": "train", "viubench": "bench"}  # a set of samples -> the split whose videos it may use


class StoredFrames(Protocol):
    """What the gate needs of a frame store: clips by video id, and every clock without reading a frame."""

    def __getitem__(self, video_id: str, /) -> Clip: ...

    def frame_times(self) -> list[FrameTimes]: ...


@dataclass(frozen=True)
class GateContext:
    """What samples are held against: the split and the clock of each video, and the tasks by name."""

    split_of: Mapping[str, str]
    times_of: Mapping[str, tuple[float, ...]]
    tasks: Mapping[str, Any]

    @classmethod
    def of(cls, manifest: Iterable[Video], footage: Iterable[FrameTimes], tasks: Mapping[str, Any]) -> "GateContext":
        splits = {video.video_id: str(video.split) for video in manifest}
        return cls(splits, {one.video_id: one.times for one in footage}, tasks)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Every known "task/variant"."""
        return frozenset(f"{name}/{variant}" for name, task in self.tasks.items() for variant in task.variants)


def manifest_table(
    manifest: Sequence[Video], footage: Sequence[FrameTimes], quarantine: Sequence[RejectedFile]
) -> pd.DataFrame:
    """One row a usable video: the fields of `Video`, and whether it is stored or told why not."""
    stored, refused = {one.video_id for one in footage}, {one.path for one in quarantine}
    rows = [{key: _finite(value) for key, value in asdict(video).items()} for video in manifest]
    table = pd.DataFrame(rows, columns=[field.name for field in fields(Video)])
    return table.assign(accounted_for=table["video_id"].isin(stored) | table["path"].isin(refused))


def quarantine_table(
    quarantine: Sequence[RejectedFile], manifest: Sequence[Video], footage: Sequence[FrameTimes]
) -> pd.DataFrame:
    """One row a rejected file, and whether the store has it all the same."""
    ids = {one.video_id for one in footage}
    stored = {video.path for video in manifest if video.video_id in ids}
    rows = [{**asdict(one), "stored": one.path in stored} for one in quarantine]
    return pd.DataFrame(rows, columns=["path", "reason", "detail", "stored"])


def source_table(manifest: Sequence[Video], quarantine: Sequence[RejectedFile]) -> pd.DataFrame:
    """One row: the whole source, and the share of its files that cannot be used."""
    # A video that could not be stored is in both: in the manifest since ingest, in the quarantine since frames.
    num_files = len({video.path for video in manifest} | {one.path for one in quarantine})
    share = len(quarantine) / num_files if num_files else 1.0
    return pd.DataFrame([{"source": "all files", "num_files": num_files, "share_quarantined": share}])


def store_table(
    manifest: Sequence[Video], footage: Sequence[FrameTimes], sets: Mapping[str, Sequence[Sample]]
) -> pd.DataFrame:
    """One row a stored video: its clock against its length, and which sets of samples it serves."""
    videos = {video.video_id: video for video in manifest}
    usual = Counter(len(one.times) for one in footage).most_common(1)
    served = {
        name: {used for sample in samples for used in edits.videos_used(sample)} for name, samples in sets.items()
    }
    rows = [_stored(one, videos.get(one.video_id), usual[0][0], served) for one in footage]
    return pd.DataFrame(rows, columns=_STORED)


_STORED = (
    "video_id", "in_manifest", "num_frames", "usual_num_frames", "first_seconds", "last_seconds",
    "shortest_step_seconds", "end_seconds", "serves",
)  # fmt: skip


def _stored(one: FrameTimes, video: Video | None, usual: int, served: Mapping[str, set[str]]) -> dict[str, Any]:
    times = np.asarray(one.times, np.float64)
    steps = np.diff(times)
    # Containers round their duration, and a frame lasts one step more than its time says.
    end = video.duration_seconds + 2 / video.fps if video and video.fps > 0 else math.inf
    return {
        "video_id": one.video_id,
        "in_manifest": video is not None,
        "num_frames": len(times),
        "usual_num_frames": usual,
        "first_seconds": _finite(float(times.min())) if len(times) else -1.0,
        "last_seconds": float(times.max()) if len(times) else math.inf,
        "shortest_step_seconds": _finite(float(steps.min())) if len(steps) else -1.0,
        "end_seconds": end,
        "serves": " and ".join(name for name, videos in served.items() if one.video_id in videos) or "nothing",
    }


def samples_table(
    samples: Sequence[Sample], split: str, elsewhere: Iterable[str], source: GateContext, clips: Mapping[str, int]
) -> pd.DataFrame:
    """One row a sample. `elsewhere` are the sample ids of the other sets; `clips` how many clips a kind renders."""
    taken = set(elsewhere)
    rows = [_puzzle(sample, split, sample.sample_id in taken, source, clips) for sample in samples]
    return pd.DataFrame(rows, columns=_PUZZLE)


_PUZZLE = (
    "sample_id", "elsewhere", "task", "variant", "kind", "video_id", "edit", "question", "answer", "markers", "clips",
    "edit_fault", "not_stored", "outside_split", "derived",
)  # fmt: skip


def _puzzle(
    sample: Sample, split: str, elsewhere: bool, source: GateContext, clips: Mapping[str, int]
) -> dict[str, Any]:
    kind = sample.kind
    used = edits.videos_used(sample)
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
        "edit_fault": edit_fault(sample, source),
        "not_stored": _joined(video for video in used if video not in source.times_of),
        "outside_split": _joined(video for video in used if source.split_of.get(video) != split),
        "derived": derived_answer(sample, source),
    }


def derived_answer(sample: Sample, source: GateContext) -> str | None:
    """The answer that follows from the edit and the stored times; None where the edit does not give one."""
    times = source.times_of.get(sample.video_id)
    if times is None or sample.kind not in source.kinds:
        return sample.answer  # named by the rule on kinds or on the store: one fault, one rule
    try:
        return str(source.tasks[sample.task].answer(sample.edit, times))
    except edits.UNREADABLE:
        return None


def edit_fault(sample: Sample, source: GateContext) -> str | None:
    """What is wrong with the edit under the parameters of its task, in words; None when nothing is."""
    times = source.times_of.get(sample.video_id)
    if times is None or sample.kind not in source.kinds or sample.task not in edits.FAULTS:
        return None  # named by the rule on kinds or on the store
    task = source.tasks[sample.task]
    try:
        return next(iter(edits.FAULTS[sample.task](sample, task, len(times))), None)
    except edits.UNREADABLE as error:
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
