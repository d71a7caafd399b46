"""Small sound data for the gate: a manifest, a store and both sets of puzzles, which a test may damage."""

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

# Every sample is rendered, so that what is named does not hang on a draw.
PARAMS = ValidateParams(perceptibility_samples=PER_KIND)


class MemoryStore(dict[str, Clip]):
    def frame_times(self) -> list[FrameTimes]:
        return [FrameTimes(name, tuple(clip.times.tolist())) for name, clip in sorted(self.items())]


@dataclass
class Data:
    """Everything the gate looks at, in lists and dicts that a test may damage."""

    manifest: list[Video]
    quarantine: list[RejectedFile]
    store: Any
    train: list[Sample]
    viubench: list[Sample]

    def validate(self, params: ValidateParams = PARAMS, seed: int = 0) -> GateResult:
        return validate(self.manifest, self.quarantine, self.store, self.train, self.viubench, TASKS, params, seed)

    def only(self, name: str, kind: str) -> list[int]:
        """Where the samples of a kind stand in a set."""
        return [i for i, one in enumerate(getattr(self, name)) if one.kind == kind]

    def damage(self, name: str, kind: str, nth: int, **changes: Any) -> str:
        """Replace fields of the nth sample of a kind; returns its sample_id."""
        samples, i = getattr(self, name), self.only(name, kind)[nth]
        samples[i] = replace(samples[i], **changes)
        return str(samples[i].sample_id)

    def edit(self, name: str, kind: str, nth: int) -> dict[str, Any]:
        """A copy of the edit of the nth sample of a kind, down to the last list."""
        copy: dict[str, Any] = json.loads(json.dumps(getattr(self, name)[self.only(name, kind)[nth]].edit))
        return copy


def video(number: int) -> Video:
    split = "bench" if number % 3 == 0 else "train"
    return Video(f"{number:016x}", f"{number}.mp4", "h264", 32, 32, 5.0, 10.0, 50, split)  # type: ignore[arg-type]


def moving_noise(rng: np.random.Generator) -> Clip:
    picture = rng.integers(0, 256, (32, 32, 3), np.uint8)
    return Clip(np.stack([np.roll(picture, 2 * t, axis=1) for t in range(48)]), 0.2 * np.arange(48))


def puzzles(name: str, footage: list[FrameTimes], rng: np.random.Generator) -> list[Sample]:
    """`PER_KIND` samples of every kind over the videos in turn, no puzzle twice."""
    made: dict[str, Sample] = {}
    names = [one.video_id for one in footage]
    for kind in KINDS:
        task, variant = kind.split("/")
        while sum(key.startswith(kind) for key in made) < PER_KIND:
            sample = TASKS[task].generate(footage[len(made) % len(footage)], variant, rng, names)
            key = f"{kind} {sample.video_id} {json.dumps(sample.edit)}"
            made.setdefault(key, replace(sample, sample_id=f"{name}-{len(made)}"))
    return list(made.values())


def sound_data() -> Data:
    rng = np.random.default_rng(0)
    manifest = [video(number) for number in range(12)]
    store = MemoryStore({one.video_id: moving_noise(rng) for one in manifest})
    sets = [
        puzzles(name, [one for one in store.frame_times() if int(one.video_id, 16) % 3 in thirds], rng)
        for name, thirds in (("train", (1, 2)), ("viubench", (0,)))
    ]
    return Data(manifest, [RejectedFile("notes.mp4", "not_a_video")], store, *sets)


def named(breaches: Iterable[GateFailure]) -> dict[tuple[str, str], set[str]]:
    """Which rows each (table, rule) names."""
    return {(one.table, one.expectation): set(one.rows) for one in breaches}
