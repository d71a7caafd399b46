"""Object counting: how many circles, squares and triangles were drawn in? (paper, section 3.2)

Shapes of one kind go on a few of the shown frames; the answer is how many circles, squares and triangles the whole
clip shows. One frame carries one kind, and frames of the same kind lie more than `min_gap` shown frames apart.

Differs: where shapes find no room apart from each other, fewer are drawn and fewer are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.pretext import shapes
from videossr.pretext.protocol import mean_difference, shown_indices
from videossr.records import FrameTimes, Sample

_QUESTION = (
    "<video>\nCircles, squares and triangles, each of one colour, were drawn into some frames of this video. How many "
    "of each over all frames? Answer with circles,squares,triangles as three counts and nothing else, such as 2,4,1."
)
_TRIES = 60


@dataclass(frozen=True)
class Counting:
    """Parameters: frames shown, the gap between frames with the same shape, and how many frames and shapes at most."""

    num_frames: int = 48
    min_gap: int = 8
    easy_max_frames: int = 3
    easy_max_instances: int = 3
    hard_max_frames: int = 4
    hard_max_instances: int = 4

    variants: ClassVar[tuple[str, ...]] = ("easy", "hard")

    def __post_init__(self) -> None:
        if min(self.easy_max_frames, self.easy_max_instances, self.hard_max_frames, self.hard_max_instances) < 1:
            raise ConfigError("max_frames and max_instances must be at least 1")
        if self.min_gap < 0:
            raise ConfigError(f"min_gap must be at least 0, got {self.min_gap}")
        most = max(self.easy_max_frames, self.hard_max_frames)
        room = max((most - 1) * (self.min_gap + 1) + 1, most * len(shapes.KINDS))
        if room > self.num_frames:
            raise ConfigError(
                f"{most} frames of each shape, more than {self.min_gap} apart, need num_frames of at least {room}, got "
                f"{self.num_frames}: lower min_gap or max_frames"
            )

    def fits(self, footage: FrameTimes, variant: str) -> bool:
        return len(shown_indices(len(footage.times), self.num_frames)) > 0

    def generate(
        self, footage: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()
    ) -> Sample:
        shown_indices(len(footage.times), self.num_frames)
        max_instances = self.easy_max_instances if variant == "easy" else self.hard_max_instances
        drawn = []
        for kind, frames in zip(shapes.KINDS, self._frames(variant, rng), strict=True):
            for frame in frames:
                crowd = _crowd(kind, int(rng.integers(1, max_instances + 1)), rng)
                drawn += [{"frame": frame, **shape} for shape in crowd]
        edit = {"num_frames": self.num_frames, "shapes": drawn}
        return Sample("", "counting", variant, footage.video_id, edit, _QUESTION, self.answer(edit, footage.times))

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = self.render_clean(sample, store)[0]
        for shape in sample.edit["shapes"]:
            shapes.draw(clip.frames[shape["frame"]], shape)
        return [clip]

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = store[sample.video_id]
        indices = shown_indices(len(clip), sample.edit["num_frames"])
        return [Clip(clip.frames[indices], clip.times[indices])]

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        """The least visible shape counts: one that cannot be seen makes the answer wrong."""
        clean = self.render_clean(sample, store)[0].frames
        return min(_visibility(clean[shape["frame"]], shape) for shape in sample.edit["shapes"])

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        kinds = [shape["kind"] for shape in edit["shapes"]]
        return ",".join(str(kinds.count(kind)) for kind in shapes.KINDS)

    def _frames(self, variant: str, rng: np.random.Generator) -> list[list[int]]:
        """For each kind the shown frames that carry it: no frame twice, the same kind more than `min_gap` apart."""
        most = self.easy_max_frames if variant == "easy" else self.hard_max_frames
        wanted = [int(count) for count in rng.integers(1, most + 1, len(shapes.KINDS))]
        while True:
            for _ in range(_TRIES):
                chosen = [self._spread(count, rng) for count in wanted]
                if len({frame for frames in chosen for frame in frames}) == sum(wanted):
                    return chosen
            most_wanted = int(np.argmax(wanted))
            wanted[most_wanted] = max(1, wanted[most_wanted] - 1)

    def _spread(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` frames more than `min_gap` apart, every such choice equally likely."""
        places = rng.choice(self.num_frames - (count - 1) * self.min_gap, count, replace=False)
        return [int(place) + self.min_gap * i for i, place in enumerate(np.sort(places))]


def _crowd(kind: str, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """`count` shapes, or as many fewer as find room: one always does."""
    while (crowd := shapes.place(rng, kind, count)) is None:
        count -= 1
    return crowd


def _visibility(frame: NDArray[np.uint8], shape: Mapping[str, Any]) -> float:
    """Mean absolute difference, 0..255, that one shape makes over the pixels it changes a canvas by."""
    canvas, drawn = np.zeros_like(frame), frame.copy()
    shapes.draw(canvas, {**shape, "rgb": [255, 255, 255]})
    shapes.draw(drawn, shape)
    covered = canvas.any(axis=2)
    return mean_difference(drawn[covered], frame[covered])
