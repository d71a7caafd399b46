"""Temporal jigsaw: in which order do the clips play? (paper, section 3.2)

The stored frames are cut into equal clips, which are shown as separate videos in another order. The answer is the
inverse permutation, one digit for each clip: the number of the clip that plays first, of the one that plays second, and
so on. The times of each clip start at zero, so that no time stamp reveals the order.

Differs: never the identity order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.pretext.protocol import coarse_difference, shown_indices
from videossr.records import FrameTimes, Sample

_QUESTION = (
    "{clips}\nThese are {num_clips} clips of one video in a wrong order. In which order do they play? "
    "Answer with the clip numbers from first to last and nothing else, for example {example}."
)
_EXAMPLE = "314265897"


@dataclass(frozen=True)
class Jigsaw:
    """Parameters: the frames that each clip shows, for samples of six clips, of eight, and of four (the easiest)."""

    frames_per_clip_6: int = 8
    frames_per_clip_8: int = 6
    frames_per_clip_4: int = 12

    variants: ClassVar[tuple[str, ...]] = ("4", "6", "8")

    def __post_init__(self) -> None:
        if min(self.frames_per_clip(variant) for variant in self.variants) < 2:
            raise ConfigError("frames_per_clip must be at least 2: an order needs motion")

    def frames_per_clip(self, variant: str) -> int:
        """The frames that each clip of a sample of this variant shows."""
        return {"4": self.frames_per_clip_4, "6": self.frames_per_clip_6, "8": self.frames_per_clip_8}[variant]

    def fits(self, video: FrameTimes, variant: str) -> bool:
        return len(shown_indices(len(video.times), int(variant) * self.frames_per_clip(variant))) > 0

    def generate(self, video: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()) -> Sample:
        num_clips, frames_per_clip = int(variant), self.frames_per_clip(variant)
        shown_indices(len(video.times), num_clips * frames_per_clip)
        order = list(range(num_clips))
        while order == sorted(order):
            order = [int(part) for part in rng.permutation(num_clips)]
        edit = {"order": order, "frames_per_clip": frames_per_clip}
        clips = "\n".join(f"Clip {number}: <video>" for number in range(1, num_clips + 1))
        example = "".join(digit for digit in _EXAMPLE if int(digit) <= num_clips)
        question = _QUESTION.format(clips=clips, num_clips=num_clips, example=example)
        return Sample("", "jigsaw", variant, video.video_id, edit, question, self.answer(edit, video.times))

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        return _cut_clips(store[sample.video_id], sample.edit["order"], sample.edit["frames_per_clip"])

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        return _cut_clips(store[sample.video_id], sorted(sample.edit["order"]), sample.edit["frames_per_clip"])

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        """The minimum over pairs of successive clips: two clips that look the same cannot be put in order."""
        clips = self.render_clean(sample, store)
        return min(coarse_difference(clip.frames, following.frames) for clip, following in pairwise(clips))

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        order = edit["order"]
        return "".join(str(order.index(part) + 1) for part in range(len(order)))


def _cut_clips(video: Clip, order: Sequence[int], frames_per_clip: int) -> list[Clip]:
    """Cut a video into len(order) parts and return them in this order, the times of each from zero."""
    parts = shown_indices(len(video), len(order) * frames_per_clip).reshape(len(order), -1)
    return [Clip(video.frames_at(parts[i]), video.times[parts[i]] - video.times[parts[i][0]]) for i in order]
