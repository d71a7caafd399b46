"""The profile of a batch of videos: one value of each property for each video, codecs, and refused files."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from videossr import config
from videossr.clip import Clip
from videossr.dataset.draws import rng_of
from videossr.dataset.params import VIUBENCH, PretextParams
from videossr.evaluation.baselines import constant_answers, training_examples
from videossr.evaluation.runner import score_reply
from videossr.pretext import PretextTask
from videossr.records import FrameTimes, RejectedFile, Sample, Video, source_of

MAX_VIDEOS = 500  # of a profile: more make no drift visible that would matter
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Profile:
    """`columns` holds the values of each property of the videos, `codecs` the number of videos of each, `rejected` the
    number of refused files by reason, and `ids` the first 16 digits of the hash of each file that was measured.
    """

    columns: dict[str, tuple[float, ...]]
    codecs: dict[str, int]
    rejected: dict[str, int]
    ids: tuple[str, ...]

    @property
    def num_videos(self) -> int:
        return sum(self.codecs.values())

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected.values())

    def as_json(self) -> dict[str, Any]:
        """The profile as `Profile.from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Profile":
        """The profile in a record. Raises ConfigError where it has another form."""
        return config.build(Profile, record, "the profile of the videos")


def measure_profile(
    videos: Sequence[Video], rejected: Sequence[RejectedFile], store: Mapping[str, Clip], params: PretextParams
) -> Profile:
    """Measure the videos that are in `store`, at most `MAX_VIDEOS` of them: ids are hashes, so the first are a random
    choice. Of the windows of one file the first is taken, because windows are not independent.
    """
    stored = sorted((video for video in videos if video.video_id in store), key=lambda video: video.video_id)
    first_windows = list({source_of(video.video_id): video for video in reversed(stored)}.values())
    chosen = sorted(first_windows, key=lambda video: video.video_id)[:MAX_VIDEOS]
    clips = {video.video_id: store[video.video_id] for video in chosen}
    times = [FrameTimes(video_id, tuple(clip.times.tolist())) for video_id, clip in clips.items()]
    rows = [{**_of_file(video), **_of_pixels(clips[video.video_id])} for video in tqdm(chosen, desc="profile")]
    for row, more in zip(rows, _of_samples(times, clips, params), strict=True):
        row |= more
    names = rows[0].keys() if rows else ()
    return Profile(
        columns={name: tuple(_rounded(row[name]) for row in rows if not math.isnan(row[name])) for name in names},
        codecs=dict(Counter(video.codec for video in first_windows)),
        rejected=dict(Counter(file.reason for file in rejected)),
        ids=tuple(source_of(video.video_id) for video in chosen),
    )


def _rounded(value: float) -> float:
    """Six digits: rates that differ by a rounding error are equal."""
    return float(f"{value:.6g}")


def _of_file(video: Video) -> dict[str, float]:
    return {
        "length (s)": video.duration_seconds,
        "frames a second": video.fps,
        "pixels": float(video.width * video.height),
    }


def _of_pixels(clip: Clip) -> dict[str, float]:
    """Mean brightness of the stored frames, and the mean absolute change from each to the next, both 0..255."""
    grey = clip.frames.astype(np.float32) @ _LUMA.astype(np.float32)
    return {"brightness": float(grey.mean()), "motion": float(np.abs(np.diff(grey, axis=0)).mean())}


def _of_samples(
    videos: Sequence[FrameTimes], store: Mapping[str, Clip], params: PretextParams
) -> list[dict[str, float]]:
    """For each video: how visible the edits of each task are (0..255), and the score of the best blind answer (0..1).

    One sample of each kind of VIUBench is drawn from each video; NaN where the video is too short for all of a task.
    """
    donors = [video.video_id for video in videos]
    samples = [
        [_draw(params, video, kind, donors) for kind in VIUBENCH if _task(params, kind).fits(video, kind.split("/")[1])]
        for video in videos
    ]
    drawn = [sample for of_video in samples for sample in of_video]
    examples = training_examples([], videos, params.tasks, params.seed + 1)
    answers = iter(constant_answers(drawn, examples, videos))
    return [
        {
            **_visibility(of_video, params.tasks, store),
            "blind answer": _mean([score_reply(sample, next(answers)).score for sample in of_video]),
        }
        for of_video in samples
    ]


def _visibility(
    samples: Sequence[Sample], tasks: Mapping[str, PretextTask], store: Mapping[str, Clip]
) -> dict[str, float]:
    return {
        f"visibility of {name}": _mean(
            [task.perceptibility(sample, store) for sample in samples if sample.task == name]
        )
        for name, task in tasks.items()
    }


def _draw(params: PretextParams, video: FrameTimes, kind: str, donors: Sequence[str]) -> Sample:
    rng = rng_of(params.seed, "drift", kind, video.video_id)
    return _task(params, kind).generate(video, kind.split("/")[1], rng, donors)


def _task(params: PretextParams, kind: str) -> PretextTask:
    return params.tasks[kind.split("/")[0]]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
