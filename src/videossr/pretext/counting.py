"""Object counting: how many circles, squares and triangles were drawn into the video? (paper, section 3.2)

A few of the shown frames carry shapes, all of one kind on a frame. The answer is the number of circles, squares and
triangles in the whole clip. Frames with the same kind lie more than `min_gap` shown frames apart.

Differs: where the shapes do not fit on a frame without overlap, fewer are drawn and fewer are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from videossr.clip import Clip, Pixels
from videossr.errors import ConfigError
from videossr.pretext import shapes
from videossr.pretext.protocol import mean_difference, shown_indices
from videossr.records import FrameTimes, Sample

_QUESTION = (
    "<video>\nCircles, squares and triangles, each of one colour, were drawn into some frames of this video. How many "
    "of each over all frames? Answer with circles,squares,triangles as three counts and nothing else, such as 2,4,1."
)
_MAX_ATTEMPTS = 60


@dataclass(frozen=True)
class Counting:
    """Parameters: the shown frames, the gap between frames with the same shape, and the two maxima of each variant.

    `max_frames` limits the frames that carry the same shape, `max_instances` the shapes on one frame. `kinds` is the
    number of kinds in a sample: with fewer than all three, the sample draws which, and the count of the others is 0.
    """

    num_frames: int = 48
    min_gap: int = 8
    easy_max_frames: int = 3
    easy_max_instances: int = 3
    hard_max_frames: int = 4
    hard_max_instances: int = 4
    kinds: int = len(shapes.KINDS)

    variants: ClassVar[tuple[str, ...]] = ("easy", "hard")

    def __post_init__(self) -> None:
        if min(self.easy_max_frames, self.easy_max_instances, self.hard_max_frames, self.hard_max_instances) < 1:
            raise ConfigError("max_frames and max_instances must be at least 1")
        if self.min_gap < 0:
            raise ConfigError(f"min_gap must be at least 0, got {self.min_gap}")
        if not 1 <= self.kinds <= len(shapes.KINDS):
            raise ConfigError(f"kinds must be 1 to {len(shapes.KINDS)}, got {self.kinds}")
        most = max(self.easy_max_frames, self.hard_max_frames)
        needed = max((most - 1) * (self.min_gap + 1) + 1, most * self.kinds)
        if needed > self.num_frames:
            raise ConfigError(
                f"{most} frames of each shape, more than {self.min_gap} apart, need num_frames of at least {needed}, "
                f"got {self.num_frames}: lower min_gap or max_frames"
            )

    def fits(self, video: FrameTimes, variant: str) -> bool:
        return len(shown_indices(len(video.times), self.num_frames)) > 0

    def generate(self, video: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()) -> Sample:
        shown_indices(len(video.times), self.num_frames)
        max_instances = self.easy_max_instances if variant == "easy" else self.hard_max_instances
        drawn = []
        for kind, frames in zip(shapes.KINDS, self._draw_frames(variant, rng), strict=True):
            for frame in frames:
                on_frame = _place_at_most(kind, int(rng.integers(1, max_instances + 1)), rng)
                drawn += [{"frame": frame, **shape} for shape in on_frame]
        edit = {"num_frames": self.num_frames, "shapes": drawn}
        return Sample("", "counting", variant, video.video_id, edit, _QUESTION, self.answer(edit, video.times))

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = self.render_clean(sample, store)[0]
        for shape in sample.edit["shapes"]:
            shapes.draw(clip.frames[shape["frame"]], shape)
        return [clip]

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = store[sample.video_id]
        indices = shown_indices(len(clip), sample.edit["num_frames"])
        return [Clip(clip.frames_at(indices), clip.times[indices])]

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        """The minimum over all shapes: a single shape that cannot be seen makes the answer wrong."""
        clip = store[sample.video_id]
        indices = shown_indices(len(clip), sample.edit["num_frames"])
        drawn_into = sorted({shape["frame"] for shape in sample.edit["shapes"]})
        frames = dict(zip(drawn_into, clip.frames_at(indices[drawn_into]), strict=True))
        return min(_shape_visibility(frames[shape["frame"]], shape) for shape in sample.edit["shapes"])

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        kinds = [shape["kind"] for shape in edit["shapes"]]
        return ",".join(str(kinds.count(kind)) for kind in shapes.KINDS)

    def _draw_frames(self, variant: str, rng: np.random.Generator) -> list[list[int]]:
        """For each kind, the shown frames that carry it: no frame twice, the same kind more than `min_gap` apart."""
        max_frames = self.easy_max_frames if variant == "easy" else self.hard_max_frames
        counts = [int(count) for count in rng.integers(1, max_frames + 1, len(shapes.KINDS))]
        if self.kinds < len(counts):
            for kind in rng.permutation(len(counts))[self.kinds :]:
                counts[kind] = 0
        while True:
            for _ in range(_MAX_ATTEMPTS):
                by_kind = [self._draw_spread_frames(count, rng) for count in counts]
                if len({frame for frames in by_kind for frame in frames}) == sum(counts):
                    return by_kind
            largest = int(np.argmax(counts))
            counts[largest] = max(1, counts[largest] - 1)

    def _draw_spread_frames(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` frames more than `min_gap` apart, every such choice equally likely."""
        # Draw distinct frames of a clip without the gaps, then put the gaps back.
        frames = np.sort(rng.choice(self.num_frames - (count - 1) * self.min_gap, count, replace=False))
        return [int(frame) + self.min_gap * i for i, frame in enumerate(frames)]


def _place_at_most(kind: str, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Place `count` shapes, or the largest smaller number that fits; one shape always does."""
    while (placed := shapes.place(rng, kind, count)) is None:
        count -= 1
    return placed


def _shape_visibility(frame: Pixels, shape: Mapping[str, Any]) -> float:
    """Mean absolute difference, 0..255, that drawing the shape makes over the pixels that it covers."""
    covered, drawn = np.zeros(frame.shape[:2], np.uint8), frame.copy()
    shapes.draw(covered, {**shape, "rgb": [255]})
    shapes.draw(drawn, shape)
    return mean_difference(drawn[covered > 0], frame[covered > 0])
