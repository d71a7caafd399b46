"""Small valid data for the gate: a manifest, a store and both sets of samples, which a test may damage."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videossr.clip import Clip
from videossr.gates import GateFailure, GateResult, ValidateParams, validate
from videossr.pretext import Counting, Grounding, Jigsaw, PretextTask
from videossr.records import FrameTimes, RejectedFile, Sample, Video

TASKS: dict[str, PretextTask] = {
    "grounding": Grounding(num_frames=16, min_length=3, max_length=5),
    "counting": Counting(num_frames=16, min_gap=2),
    "jigsaw": Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
}

KINDS = (
    *(f"grounding/{name}" for name in ("channel_swap", "rotate_180", "zoom_out", "mirror", "shuffle", "swap", "fast")),
    *("counting/easy", "counting/hard", "jigsaw/6", "jigsaw/8"),
)

PER_KIND = 8

# All samples are rendered, so that the failures do not depend on the seed.
PARAMS = ValidateParams(perceptibility_samples=PER_KIND)


class MemoryStore(dict[str, Clip]):
    """A frame store in memory: video_id -> clip."""

    def frame_times(self) -> list[FrameTimes]:
        return [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in sorted(self.items())]


@dataclass
class GateData:
    """The inputs of the gate, in lists and dicts that a test may damage."""

    manifest: list[Video]
    quarantine: list[RejectedFile]
    store: Any
    train: list[Sample]
    viubench: list[Sample]

    def validate(self, params: ValidateParams = PARAMS, seed: int = 0) -> GateResult:
        return validate(self.manifest, self.quarantine, self.store, self.train, self.viubench, TASKS, params, seed)

    def indices(self, name: str, kind: str) -> list[int]:
        """The indices of the samples of a kind in the set `name`."""
        return [i for i, sample in enumerate(getattr(self, name)) if sample.kind == kind]

    def damage(self, name: str, kind: str, nth: int, **changes: Any) -> str:
        """Replace fields of the nth sample of a kind; returns its sample_id."""
        samples, i = getattr(self, name), self.indices(name, kind)[nth]
        samples[i] = replace(samples[i], **changes)
        return str(samples[i].sample_id)

    def edit(self, name: str, kind: str, nth: int) -> dict[str, Any]:
        """A deep copy of the edit of the nth sample of a kind."""
        copy: dict[str, Any] = json.loads(json.dumps(getattr(self, name)[self.indices(name, kind)[nth]].edit))
        return copy


def video(number: int) -> Video:
    split = "bench" if number % 3 == 0 else "train"
    return Video(f"{number:016x}", f"{number}.mp4", "h264", 32, 32, 5.0, 10.0, 50, split)  # type: ignore[arg-type]


def moving_noise(rng: np.random.Generator) -> Clip:
    picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
    return Clip(np.stack([np.roll(picture, 2 * t, axis=1) for t in range(48)]), 0.2 * np.arange(48))


def make_samples(name: str, videos: list[FrameTimes], rng: np.random.Generator) -> list[Sample]:
    """`PER_KIND` different samples of every kind, taking the videos in turn."""
    samples: dict[str, Sample] = {}
    video_ids = [one.video_id for one in videos]
    for kind in KINDS:
        task, variant = kind.split("/")
        while sum(key.startswith(kind) for key in samples) < PER_KIND:
            sample = TASKS[task].generate(videos[len(samples) % len(videos)], variant, rng, video_ids)
            key = f"{kind} {sample.video_id} {json.dumps(sample.edit)}"
            samples.setdefault(key, replace(sample, sample_id=f"{name}-{len(samples)}"))
    return list(samples.values())


def valid_data() -> GateData:
    rng = np.random.default_rng(0)
    manifest = [video(number) for number in range(12)]
    store = MemoryStore({usable.video_id: moving_noise(rng) for usable in manifest})
    sets = [
        make_samples(name, [one for one in store.frame_times() if int(one.video_id, 16) % 3 in remainders], rng)
        for name, remainders in (("train", (1, 2)), ("viubench", (0,)))
    ]
    return GateData(manifest, [RejectedFile("notes.mp4", "not_a_video")], store, *sets)


def rows_by_rule(failures: Iterable[GateFailure]) -> dict[tuple[str, str], set[str]]:
    """(table, rule) -> the names of its failing rows."""
    return {(failure.table, failure.expectation): set(failure.rows) for failure in failures}
