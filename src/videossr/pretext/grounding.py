"""Anomaly grounding: when was the video tampered with? (paper, section 3.2)

The shown frames are evenly strided over the stored ones. Their edges are the presentation time of each shown frame and,
for the last, one mean step more; the answer is the half-open interval between the edges of the perturbed frames, in
seconds with one decimal, so that the whole clip as a guess scores length / num_frames.

Qwen-VL merges frames in pairs (temporal_patch_size 2): an interval that starts or ends on an odd frame shares a visual
token with a clean frame. `align: 2` keeps intervals to whole pairs.

Differs: time comes from presentation timestamps, not from a rate that ignores the cut at both ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from videossr import rewards
from videossr.clip import Clip
from videossr.errors import ConfigError, SourceError
from videossr.pretext.perturbations import PERTURBATIONS, Perturbation, scale_strength
from videossr.pretext.protocol import coarse_difference, mean_difference, shown_indices
from videossr.records import FrameTimes, Sample

_QUESTION = (
    "<video>\nDuring one part of this video {description}{clock}. When? "
    "Answer with its start and end in seconds and nothing else, for example 3.5-7.2."
)
_EVEN_CLOCK = ", while the time stamps stay evenly spaced"
_SHORTEST_SECONDS = 0.2  # twice the rounding of one decimal: an interval this long never rounds to nothing
_TRIES = 100
_FINE_GRAINED = ("noise", "blur")  # what they do is seen in single pixels


@dataclass(frozen=True)
class Grounding:
    """Parameters: frames shown, and the perturbed interval's length in shown frames (inclusive bounds).

    `align` keeps start and length to multiples of it. `strength` multiplies how strong noise, blur, saturation and zoom
    are; the other perturbations have no degrees. `slow` and `fast` need at least twice as many stored frames as shown
    ones.
    """

    num_frames: int = 48
    min_length: int = 8
    max_length: int = 16
    align: int = 1
    strength: float = 1.0

    variants: ClassVar[tuple[str, ...]] = tuple(PERTURBATIONS)

    def __post_init__(self) -> None:
        if not 2 <= self.min_length <= self.max_length < self.num_frames:
            raise ConfigError(
                "2 <= min_length <= max_length < num_frames must hold (a shuffle needs two frames, an anomaly a clean "
                f"one beside it), got {self.min_length}, {self.max_length} and {self.num_frames}"
            )
        if self.align < 1 or not self._lengths():
            raise ConfigError(
                f"align must be at least 1 with a multiple of it in min_length..max_length, got {self.align}"
            )

        if not self.strength > 0:
            raise ConfigError(f"strength must be above 0, where a perturbation cannot be seen, got {self.strength}")

    def fits(self, footage: FrameTimes, variant: str) -> bool:
        bounds = frame_edges(footage.times, self._layout(len(footage.times), PERTURBATIONS[variant]))
        longest = self._lengths()[-1]
        return bool(np.min(bounds[longest:] - bounds[:-longest]) >= _SHORTEST_SECONDS)

    def generate(
        self, footage: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()
    ) -> Sample:
        perturbation = PERTURBATIONS[variant]
        layout = self._layout(len(footage.times), perturbation, rng)
        start, length = self._interval(footage, layout, rng)
        params = scale_strength(perturbation.draw_params(rng, length), self.strength)
        if perturbation.needs_donor:
            params["donor"] = _donor(footage.video_id, donors, rng)
        edit = {"perturbation": variant, **layout, "start": start, "length": length, "params": params}
        clock = "" if perturbation.stride_ratio == (1, 1) else _EVEN_CLOCK
        question = _QUESTION.format(description=perturbation.description, clock=clock)
        return Sample("", "grounding", variant, footage.video_id, edit, question, self.answer(edit, footage.times))

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        edit, clip = sample.edit, store[sample.video_id]
        frames = clip.frames[_indices(edit)]
        inside = slice(edit["start"], edit["start"] + edit["length"])
        params = edit["params"]
        if "donor" in params:
            frames[inside] = _resized(store[params["donor"]].frames[_indices(edit)[inside]], frames.shape[1:3])
        else:
            frames[inside] = PERTURBATIONS[edit["perturbation"]].apply(frames[inside], params)
        return [Clip(frames, frame_edges(clip.times, edit)[:-1])]

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        edit, clip = sample.edit, store[sample.video_id]
        even = {**edit, "stride": [edit["stride"][0]] * 2}
        return [Clip(clip.frames[_indices(even)], frame_edges(clip.times, edit)[:-1])]

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        inside = slice(sample.edit["start"], sample.edit["start"] + sample.edit["length"])
        seen, clean = self.render(sample, store)[0], self.render_clean(sample, store)[0]
        difference = mean_difference if sample.variant in _FINE_GRAINED else coarse_difference
        return difference(seen.frames[inside], clean.frames[inside])

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        bounds = frame_edges(times, edit)
        return format_interval(bounds[edit["start"]], bounds[edit["start"] + edit["length"]])

    def _lengths(self) -> list[int]:
        return [length for length in range(self.min_length, self.max_length + 1) if length % self.align == 0]

    def _layout(
        self, num_stored: int, perturbation: Perturbation, rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Which stored frames are shown: their number, the strides (outside, inside) and the first one's index."""
        shown_indices(num_stored, self.num_frames)
        outside, inside = perturbation.stride_ratio
        # The longest way through the stored frames, whatever the interval: the offset then tells nothing about it.
        reach = self.num_frames * outside + max(0, inside - outside) * self.max_length
        unit = num_stored // reach
        if unit < 1:
            raise ConfigError(
                f"'{perturbation.name}' needs {reach} stored frames to show {self.num_frames}, got {num_stored}: raise "
                "frames.num_frames, show fewer, or leave this perturbation out of the mixture"
            )
        offset = 0 if rng is None else int(rng.integers(num_stored - unit * reach + 1))
        return {"num_frames": self.num_frames, "stride": [unit * outside, unit * inside], "offset": offset}

    def _interval(self, footage: FrameTimes, layout: Mapping[str, Any], rng: np.random.Generator) -> tuple[int, int]:
        """Draw (start, length) in shown frames, again while the interval rounds to nothing."""
        bounds, lengths = frame_edges(footage.times, layout), self._lengths()
        for _ in range(_TRIES):
            length = lengths[int(rng.integers(len(lengths)))]
            start = self.align * int(rng.integers((self.num_frames - length) // self.align + 1))
            said = rewards.parse_interval(format_interval(bounds[start], bounds[start + length]))
            if said is not None and said[1] > said[0]:
                return start, length
        raise SourceError(
            f"an interval must last a tenth of a second to be named, but video {footage.video_id} spans only "
            f"{bounds[-1] - bounds[0]:.2f} s: leave it out, or raise pretext.grounding.max_length"
        )


def frame_edges(times: ArrayLike, edit: Mapping[str, Any]) -> NDArray[np.float64]:
    """Start times of the shown frames and the end of the last, in seconds [num_frames + 1].

    `times` are the stored times [T]. Where the pace changes inside (slow, fast) the clock is even, at the true mean
    pace of the frames outside.
    """
    stored = np.asarray(times, np.float64)
    num_frames, offset, (outside, inside) = edit["num_frames"], edit["offset"], edit["stride"]
    if outside != inside:
        step = outside * (stored[-1] - stored[0]) / (len(stored) - 1)
        return stored[offset] + step * np.arange(num_frames + 1)
    return append_end(stored[offset : offset + num_frames * outside : outside])


def append_end(shown: ArrayLike) -> NDArray[np.float64]:
    """Shown times in seconds [T >= 2] and, after them, the clip's end: one mean step after its last frame [T + 1]."""
    starts = np.asarray(shown, np.float64)
    return np.append(starts, starts[-1] + (starts[-1] - starts[0]) / (len(starts) - 1))


def _indices(edit: Mapping[str, Any]) -> NDArray[np.intp]:
    outside, inside = edit["stride"]
    steps = np.full(edit["num_frames"], outside)
    steps[edit["start"] : edit["start"] + edit["length"]] = inside
    return edit["offset"] + np.concatenate([[0], np.cumsum(steps[:-1])])


def format_interval(start_seconds: float, end_seconds: float) -> str:
    return f"{start_seconds:.1f}-{end_seconds:.1f}"


def _donor(video_id: str, donors: Sequence[str], rng: np.random.Generator) -> str:
    others = len(donors) - (video_id in donors)
    if others < 1:
        raise SourceError(f"'swap' needs another video beside {video_id}: add videos, or leave it out of the mixture")
    # Redrawing beats filtering: the list may name every video of the source.
    while (donor := donors[int(rng.integers(len(donors)))]) == video_id:
        continue
    return donor


def _resized(frames: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    height, width = size
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
