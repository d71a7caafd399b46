"""Records as tables: one row per record, and one column for each fact that a rule needs.

The values are computed here, once per row; the suites only compare columns. A number that is missing or not finite
becomes -1, which no rule allows, because column expectations ignore nulls.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from videossr.clip import Clip
from videossr.gates import edit_rules
from videossr.records import VIDEO_MARKER, FrameTimes, RejectedFile, Sample, Video, kind_name, source_of

SETS = {"train": "train", "viubench": "bench"}  # a set of samples -> the split whose videos it may use


class StoredFrames(Protocol):
    """A frame store as the gate uses it: clips by video id, and the frame times of all videos without their pixels."""

    def __getitem__(self, video_id: str, /) -> Clip: ...

    def frame_times(self) -> list[FrameTimes]: ...


@dataclass(frozen=True)
class GateContext:
    """The data that samples are checked against: the split and frame times of each video, and the tasks by name."""

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
        """Every known kind of sample."""
        return frozenset(kind_name(name, variant) for name, task in self.tasks.items() for variant in task.variants)


def manifest_table(
    manifest: Sequence[Video], stored_videos: Sequence[FrameTimes], quarantine: Sequence[RejectedFile]
) -> pd.DataFrame:
    """One row per usable video: the fields of `Video`, whether it is stored or in the quarantine, and how many splits
    the windows of its source have.
    """
    stored, rejected = {video.video_id for video in stored_videos}, {file.path for file in quarantine}
    splits: dict[str, set[str]] = {}
    for video in manifest:
        splits.setdefault(source_of(video.video_id), set()).add(video.split)
    rows = [{key: _finite(value) for key, value in asdict(video).items()} for video in manifest]
    table = pd.DataFrame(rows, columns=[field.name for field in fields(Video)])
    is_rejected = [video.name in rejected for video in manifest]
    return table.assign(
        stored_or_rejected=table["video_id"].isin(stored) | np.array(is_rejected, bool),
        splits_of_source=[len(splits[source_of(video.video_id)]) for video in manifest],
    )


def quarantine_table(
    quarantine: Sequence[RejectedFile], manifest: Sequence[Video], stored_videos: Sequence[FrameTimes]
) -> pd.DataFrame:
    """One row per rejected file: the fields of `RejectedFile`, and whether its video is stored nevertheless."""
    ids = {video.video_id for video in stored_videos}
    stored = {video.name for video in manifest if video.video_id in ids}
    rows = [{**asdict(file), "stored": file.path in stored} for file in quarantine]
    return pd.DataFrame(rows, columns=["path", "reason", "detail", "stored"])


def source_table(manifest: Sequence[Video], quarantine: Sequence[RejectedFile]) -> pd.DataFrame:
    """A single row: the number of files (or windows of them) of the source, and the share that is rejected."""
    # A video that the stage frames rejects is in both: ingest writes it to the manifest, frames to the quarantine.
    num_files = len({video.name for video in manifest} | {file.path for file in quarantine})
    share = len(quarantine) / num_files if num_files else 1.0
    return pd.DataFrame([{"source": "all files", "num_files": num_files, "share_quarantined": share}])


def store_table(
    manifest: Sequence[Video], stored_videos: Sequence[FrameTimes], sets: Mapping[str, Sequence[Sample]]
) -> pd.DataFrame:
    """One row per stored video: its frame times, its end by the manifest, and the sets of samples that use it."""
    videos = {video.video_id: video for video in manifest}
    most_common = Counter(len(video.times) for video in stored_videos).most_common(1)
    used = {
        name: {video for sample in samples for video in edit_rules.videos_used(sample)}
        for name, samples in sets.items()
    }
    rows = [_store_row(video, videos.get(video.video_id), most_common[0][0], used) for video in stored_videos]
    return pd.DataFrame(rows, columns=_STORE_COLUMNS)


_STORE_COLUMNS = (
    "video_id", "in_manifest", "num_frames", "usual_num_frames", "first_seconds", "last_seconds",
    "shortest_step_seconds", "end_seconds", "used_in",
)  # fmt: skip


def _store_row(
    stored: FrameTimes, video: Video | None, usual_num_frames: int, used: Mapping[str, set[str]]
) -> dict[str, Any]:
    times = np.asarray(stored.times, np.float64)
    steps = np.diff(times)
    # Two frames of tolerance: containers round their duration, and the last frame is shown for one more step.
    end = video.duration_seconds + 2 / video.fps if video and video.fps > 0 else math.inf
    return {
        "video_id": stored.video_id,
        "in_manifest": video is not None,
        "num_frames": len(times),
        "usual_num_frames": usual_num_frames,
        "first_seconds": _finite(float(times.min())) if len(times) else -1.0,
        "last_seconds": float(times.max()) if len(times) else math.inf,
        "shortest_step_seconds": _finite(float(steps.min())) if len(steps) else -1.0,
        "end_seconds": end,
        "used_in": " and ".join(name for name, videos in used.items() if stored.video_id in videos) or "nothing",
    }


def samples_table(
    samples: Sequence[Sample],
    split: str,
    other_ids: Collection[str],
    context: GateContext,
    num_clips: Mapping[str, int],
) -> pd.DataFrame:
    """One row per sample.

    `split` is the split whose videos the set may use, `other_ids` are the sample ids of the other sets, `num_clips` is
    the number of clips of each rendered kind.
    """
    rows = [_sample_row(sample, split, sample.sample_id in other_ids, context, num_clips) for sample in samples]
    return pd.DataFrame(rows, columns=_SAMPLE_COLUMNS)


_SAMPLE_COLUMNS = (
    "sample_id", "in_other_set", "task", "variant", "kind", "video_id", "edit", "question", "answer", "num_markers",
    "num_clips", "edit_fault", "not_stored", "outside_split", "derived_answer",
)  # fmt: skip


def _sample_row(
    sample: Sample, split: str, in_other_set: bool, context: GateContext, num_clips: Mapping[str, int]
) -> dict[str, Any]:
    kind = sample.kind
    used = edit_rules.videos_used(sample)
    return {
        "sample_id": sample.sample_id,
        "in_other_set": in_other_set,
        "task": sample.task,
        "variant": sample.variant,
        "kind": kind,
        "video_id": sample.video_id,
        "edit": _json(sample.edit),
        "question": sample.question,
        "answer": sample.answer,
        "num_markers": sample.question.count(VIDEO_MARKER),
        "num_clips": num_clips.get(kind),
        "edit_fault": edit_fault(sample, context),
        "not_stored": _join(video for video in used if video not in context.times_of),
        "outside_split": _join(video for video in used if context.split_of.get(video) != split),
        "derived_answer": derived_answer(sample, context),
    }


def derived_answer(sample: Sample, context: GateContext) -> str | None:
    """The answer derived from the edit and the frame times; None where the edit is unreadable.

    It is the answer of the sample where its kind is unknown or its video is not stored: other rules report that.
    """
    times = context.times_of.get(sample.video_id)
    if times is None or sample.kind not in context.kinds:
        return sample.answer
    try:
        return str(context.tasks[sample.task].answer(sample.edit, times))
    except edit_rules.UNREADABLE:
        return None


def edit_fault(sample: Sample, context: GateContext) -> str | None:
    """The first fault of the edit under the parameters of its task, as a sentence; None where there is none."""
    times = context.times_of.get(sample.video_id)
    if times is None or sample.kind not in context.kinds or sample.task not in edit_rules.FAULTS:
        return None  # other rules report an unknown kind and a video that is not stored
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


def _join(names: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(names)) or None
