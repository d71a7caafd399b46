"""Anomaly grounding: when was the video tampered with? (paper, section 3.2)

The shown frames are every k-th of the stored ones. Their edges are their presentation times and the end of the clip,
one mean step after the last frame. The answer is the half-open interval between the edges of the perturbed frames, in
seconds with one decimal. The whole clip as a guess therefore scores length / num_frames.

Qwen-VL merges frames in pairs (temporal_patch_size 2): if an interval starts or ends on an odd frame, a perturbed and a
clean frame share visual tokens. `align: 2` keeps intervals to whole pairs.

Differs: times are presentation timestamps, not computed from a rate that ignores the cut at both ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from videossr import rewards
from videossr.clip import Clip, Pixels
from videossr.errors import ConfigError, SourceError
from videossr.pretext.perturbations import PERTURBATIONS, Perturbation, scale_strength
from videossr.pretext.protocol import coarse_difference, mean_difference, shown_indices
from videossr.records import FrameTimes, Sample, source_of

_QUESTION = (
    "<video>\nDuring one part of this video {description}{clock}. When? "
    "Answer with its start and end in seconds and nothing else, for example 3.5-7.2."
)
_EVEN_CLOCK = ", while the time stamps stay evenly spaced"
_MIN_SECONDS = 0.2  # twice the rounding step of one decimal: an interval this long never rounds to an empty one
_MAX_ATTEMPTS = 100
_CHANGE_SINGLE_PIXELS = ("noise", "blur")  # means over blocks would hide these


@dataclass(frozen=True)
class Grounding:
    """Parameters: the number of shown frames, and the inclusive bounds of the interval's length in shown frames.

    Start and length are multiples of `align`. `strength` multiplies the strength of noise, blur, saturation and zoom;
    the other perturbations have none. `slow` and `fast` need at least twice as many stored frames as shown ones.
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
                f"frame beside it), got {self.min_length}, {self.max_length} and {self.num_frames}"
            )
        if self.align < 1 or not self._allowed_lengths():
            raise ConfigError(
                f"align must be at least 1 with a multiple of it in min_length..max_length, got {self.align}"
            )
        if not self.strength > 0:
            raise ConfigError(f"strength must be above 0 (at 0 nothing is perturbed), got {self.strength}")

    def fits(self, video: FrameTimes, variant: str) -> bool:
        edges = frame_edges(video.times, self._select_frames(len(video.times), PERTURBATIONS[variant]))
        longest = self._allowed_lengths()[-1]
        return bool(np.min(edges[longest:] - edges[:-longest]) >= _MIN_SECONDS)

    def generate(self, video: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()) -> Sample:
        perturbation = PERTURBATIONS[variant]
        selection = self._select_frames(len(video.times), perturbation, rng)
        start, length = self._draw_interval(video, selection, rng)
        params = scale_strength(perturbation.draw_params(rng, length), self.strength)
        if perturbation.needs_donor:
            params["donor"] = _draw_donor(video.video_id, donors, rng)
        edit = {"perturbation": variant, **selection, "start": start, "length": length, "params": params}
        clock = "" if perturbation.stride_ratio == (1, 1) else _EVEN_CLOCK
        question = _QUESTION.format(description=perturbation.description, clock=clock)
        return Sample("", "grounding", variant, video.video_id, edit, question, self.answer(edit, video.times))

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = store[sample.video_id]
        frames = clip.frames_at(_stored_indices(sample.edit))
        frames[_interval_slice(sample.edit)] = _edited_frames(sample, clip, store)
        return [Clip(frames, frame_edges(clip.times, sample.edit)[:-1])]

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        clip = store[sample.video_id]
        return [Clip(clip.frames_at(_clean_indices(sample.edit)), frame_edges(clip.times, sample.edit)[:-1])]

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        clip = store[sample.video_id]
        edited = _edited_frames(sample, clip, store)
        clean = clip.frames_at(_clean_indices(sample.edit)[_interval_slice(sample.edit)])
        difference = mean_difference if sample.variant in _CHANGE_SINGLE_PIXELS else coarse_difference
        return difference(edited, clean)

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        edges = frame_edges(times, edit)
        return format_interval(edges[edit["start"]], edges[edit["start"] + edit["length"]])

    def _allowed_lengths(self) -> list[int]:
        return [length for length in range(self.min_length, self.max_length + 1) if length % self.align == 0]

    def _select_frames(
        self, num_stored: int, perturbation: Perturbation, rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """The part of the edit that selects stored frames: their number, [outside, inside] strides, first index.

        Without `rng` the first index is 0.
        """
        shown_indices(num_stored, self.num_frames)
        outside, inside = perturbation.stride_ratio
        # The number of stored frames that the clip spans with the longest interval. The span must not depend on the
        # drawn interval, because the range of the offset would then reveal its length.
        span = self.num_frames * outside + max(0, inside - outside) * self.max_length
        unit = num_stored // span
        if unit < 1:
            raise ConfigError(
                f"'{perturbation.name}' needs {span} stored frames to show {self.num_frames}, got {num_stored}: raise "
                "frames.num_frames, show fewer, or leave this perturbation out of the mixture"
            )
        offset = 0 if rng is None else int(rng.integers(num_stored - unit * span + 1))
        return {"num_frames": self.num_frames, "stride": [unit * outside, unit * inside], "offset": offset}

    def _draw_interval(
        self, video: FrameTimes, selection: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[int, int]:
        """Draw (start, length) in shown frames; draw again if the interval is empty after rounding to one decimal."""
        edges, lengths = frame_edges(video.times, selection), self._allowed_lengths()
        for _ in range(_MAX_ATTEMPTS):
            length = lengths[int(rng.integers(len(lengths)))]
            start = self.align * int(rng.integers((self.num_frames - length) // self.align + 1))
            rounded = rewards.parse_interval(format_interval(edges[start], edges[start + length]))
            if rounded is not None and rounded[1] > rounded[0]:
                return start, length
        raise SourceError(
            f"an interval must last at least a tenth of a second, but the shown frames of video {video.video_id} span "
            f"only {edges[-1] - edges[0]:.2f} s: remove this video, or raise pretext.grounding.max_length"
        )


def frame_edges(times: ArrayLike, edit: Mapping[str, Any]) -> NDArray[np.float64]:
    """Start times of the shown frames and the end of the last, in seconds [num_frames + 1].

    `times` are the stored times [T]. If the stride differs inside the interval (slow, fast), the edges are evenly
    spaced, at the video's mean frame step times the stride outside.
    """
    stored = np.asarray(times, np.float64)
    num_frames, offset, (outside, inside) = edit["num_frames"], edit["offset"], edit["stride"]
    if outside != inside:
        step = outside * (stored[-1] - stored[0]) / (len(stored) - 1)
        return stored[offset] + step * np.arange(num_frames + 1)
    return append_end(stored[offset : offset + num_frames * outside : outside])


def append_end(shown: ArrayLike) -> NDArray[np.float64]:
    """Shown times in seconds [T >= 2], plus the end of the clip, one mean step after its last frame [T + 1]."""
    starts = np.asarray(shown, np.float64)
    return np.append(starts, starts[-1] + (starts[-1] - starts[0]) / (len(starts) - 1))


def format_interval(start_seconds: float, end_seconds: float) -> str:
    """An interval as a reply: `start-end` in seconds with one decimal."""
    return f"{start_seconds:.1f}-{end_seconds:.1f}"


def _edited_frames(sample: Sample, clip: Clip, store: Mapping[str, Clip]) -> Pixels:
    """The frames of the edited interval as they are shown; `clip` is the sample's video in `store`."""
    params, inside = sample.edit["params"], _stored_indices(sample.edit)[_interval_slice(sample.edit)]
    frames = clip.frames_at(inside)
    if "donor" in params:
        return _resize(store[params["donor"]].frames_at(inside), frames.shape[1:3])
    return PERTURBATIONS[sample.edit["perturbation"]].apply(frames, params)


def _clean_indices(edit: Mapping[str, Any]) -> NDArray[np.intp]:
    """Indices of the stored frames that would be shown without the edit [num_frames]."""
    return _stored_indices({**edit, "stride": [edit["stride"][0]] * 2})


def _stored_indices(edit: Mapping[str, Any]) -> NDArray[np.intp]:
    """Indices of the stored frames that are shown [num_frames]."""
    outside, inside = edit["stride"]
    steps = np.full(edit["num_frames"], outside)
    steps[_interval_slice(edit)] = inside
    return edit["offset"] + np.concatenate([[0], np.cumsum(steps[:-1])])


def _interval_slice(edit: Mapping[str, Any]) -> slice:
    return slice(edit["start"], edit["start"] + edit["length"])


def _draw_donor(video_id: str, donors: Sequence[str], rng: np.random.Generator) -> str:
    source = source_of(video_id)
    if all(source_of(donor) == source for donor in donors):
        raise SourceError(f"'swap' needs a video other than {source}: add videos, or leave 'swap' out of the mixture")
    # Drawing again is cheaper than filtering: `donors` may hold every video of the source.
    while source_of(donor := donors[int(rng.integers(len(donors)))]) == source:
        continue
    return donor


def _resize(frames: Pixels, size: tuple[int, ...]) -> Pixels:
    """Resize frames to `size` (height, width)."""
    height, width = size
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
