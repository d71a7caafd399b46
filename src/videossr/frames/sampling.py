"""Choose which frames of a video are stored, and at which size."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from videossr.clip import FrameNumbers, Times
from videossr.decode import Decoder
from videossr.errors import ConfigError, DecodeError
from videossr.parallel import Limits
from videossr.records import Split

SIZE_FACTOR = 32  # sides are multiples of it: Qwen3-VL merges 2x2 patches of 16 pixels into one token


@dataclass(frozen=True)
class FramesParams:
    """Which frames are stored, and at which size (paper section 4.1: 48 frames of the middle 90 %, at most 256x256).

    `bench_max_pixels` is the bound for videos of the benchmark (the paper: 512x512); None: `max_pixels` holds for all.

    With `sampling` = keyframes, each frame is replaced by a keyframe within half a step, which makes long videos cheap;
    the stored times are those of the keyframes. A second reader checks `verify_fraction` of the videos. Damaged frames
    are replaced by the nearest whole ones where at least the share `min_whole` of the wanted frames is whole.
    """

    num_frames: int = 48
    span: tuple[float, float] = (0.05, 0.95)
    max_pixels: int = 65536
    min_pixels: int = 16384
    bench_max_pixels: int | None = None
    decoder: Decoder = "auto"
    sampling: Literal["uniform", "keyframes"] = "uniform"
    verify_fraction: float = 0.05
    min_whole: float = 0.5
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ConfigError(f"num_frames must be at least 2, got {self.num_frames}")
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise ConfigError(f"span must be two increasing fractions of the video within 0..1, got {self.span}")
        if not 0 <= self.verify_fraction <= 1:
            raise ConfigError(f"verify_fraction must lie within 0..1, got {self.verify_fraction}")
        if not 0 <= self.min_whole <= 1:
            raise ConfigError(f"min_whole must lie within 0..1, got {self.min_whole}")
        if not SIZE_FACTOR**2 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"{SIZE_FACTOR**2} <= min_pixels <= max_pixels must hold, got {self.min_pixels} and {self.max_pixels}"
            )
        if self.bench_max_pixels is not None and self.bench_max_pixels < self.min_pixels:
            raise ConfigError(
                f"bench_max_pixels must be at least min_pixels, {self.min_pixels}, got {self.bench_max_pixels}"
            )

    def stored_size(self, height: int, width: int, split: Split) -> tuple[int, int]:
        """The stored (height, width) of a video of this size, in pixels as displayed, and split (`fitted_size`)."""
        largest = self.bench_max_pixels if split == "bench" else None
        return fitted_size(height, width, self.min_pixels, largest or self.max_pixels)


def window_frames(times: Times, window_seconds: tuple[float, float] | None) -> slice:
    """The frames, of all frames with these `times`, that a window shows: those from its start on, before its end.

    None is the whole video. A microsecond of tolerance, because times are multiples of fractions such as 1/30.
    """
    if window_seconds is None:
        return slice(0, len(times))
    first, end = np.searchsorted(times, np.array(window_seconds) - 1e-6)
    return slice(int(first), int(end))


def choose_frames(
    times: Times, num_frames: int, span: tuple[float, float], whole: npt.NDArray[np.bool_] | None = None
) -> FrameNumbers | None:
    """Return the numbers of `num_frames` distinct frames, evenly spaced in time over `span`, int [num_frames].

    `times` are the presentation times of all frames in seconds, [N]; `span` holds two fractions of the duration. Where
    several targets fall into a gap between two frames, neighbouring frames are chosen, so that no frame repeats. With
    `whole`, bool [N], other frames are not chosen. Returns None if the span has fewer frames.
    """
    start, stop = times[0] + np.array(span) * (times[-1] - times[0])
    first, end = np.searchsorted(times, [start - 1e-9, stop + 1e-9])
    candidates = np.arange(first, end) if whole is None else first + np.flatnonzero(whole[first:end])
    if len(candidates) < num_frames:
        return None
    usable = times[candidates]
    targets = np.linspace(start, stop, num_frames)
    right = np.clip(np.searchsorted(usable, targets), 1, len(usable) - 1)
    nearest = right - (targets - usable[right - 1] <= usable[right] - targets)
    positions = np.arange(num_frames)
    increasing = np.maximum.accumulate(nearest - positions) + positions  # each at least one more than the one before
    return candidates[np.minimum(increasing, len(usable) - num_frames + positions)]


def choose_whole_frames(
    times: Times, whole: npt.NDArray[np.bool_] | None, params: FramesParams
) -> tuple[FrameNumbers, int]:
    """Return the numbers of the frames to store, int [num_frames], and how many of them replace damaged ones.

    `whole`, bool [N], says which frames are not damaged; None: all. Raises DecodeError if the video is too short, or
    fewer than the share `params.min_whole` of the wanted frames are whole.
    """
    wanted = choose_frames(times, params.num_frames, params.span)
    if wanted is None:
        raise DecodeError("too_short", f"{params.num_frames} frames are needed within {params.span}")
    num_damaged = 0 if whole is None else int(np.sum(~whole[wanted]))
    if num_damaged == 0:
        return wanted, 0
    chosen = choose_frames(times, params.num_frames, params.span, whole)
    if chosen is None or params.num_frames - num_damaged < params.min_whole * params.num_frames:
        raise DecodeError(
            "corrupt",
            f"{num_damaged} of {params.num_frames} wanted frames are damaged, and frames.min_whole is "
            f"{params.min_whole:g}",
        )
    return chosen, num_damaged


def move_to_keyframes(frame_numbers: FrameNumbers, times: Times, keyframes: FrameNumbers) -> FrameNumbers:
    """Replace each frame number by the nearest of `keyframes` within half a step, unless that repeats a frame.

    A step is the mean time between the chosen frames. Keyframes before the first or after the last of `frame_numbers`
    are not used, so that all frames stay in the span.
    """
    candidates = keyframes[(keyframes >= frame_numbers[0]) & (keyframes <= frame_numbers[-1])]
    if len(candidates) == 0:
        return frame_numbers
    seconds = times[frame_numbers]
    right = np.clip(np.searchsorted(times[candidates], seconds), 1, max(1, len(candidates) - 1))
    before, after = candidates[right - 1], candidates[np.minimum(right, len(candidates) - 1)]
    nearest = np.where(seconds - times[before] <= times[after] - seconds, before, after)
    half_step = (seconds[-1] - seconds[0]) / (len(frame_numbers) - 1) / 2
    moved = np.where(np.abs(times[nearest] - seconds) <= half_step, nearest, frame_numbers)
    # Frames at uneven times may collide: both frames of a collision get back their own number.
    while np.any(collides := np.diff(moved) <= 0):
        keeps_own_number = np.append(collides, False) | np.insert(collides, 0, False)
        moved = np.where(keeps_own_number, frame_numbers, moved)
    return moved


def fitted_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return (height, width) in multiples of 32 within the pixel bounds, with the same aspect ratio up to rounding.

    The rounding is that of Qwen's `smart_resize` with factor 32, so that the model's processor does not resize again.
    Differs: a picture too long and narrow for the bounds loses its aspect ratio instead of raising an error.
    """
    longest = max_pixels // SIZE_FACTOR // SIZE_FACTOR * SIZE_FACTOR
    rounded = [max(SIZE_FACTOR, round(side / SIZE_FACTOR) * SIZE_FACTOR) for side in (height, width)]
    if rounded[0] * rounded[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rounded = [math.floor(side / shrink / SIZE_FACTOR) * SIZE_FACTOR for side in (height, width)]
    elif rounded[0] * rounded[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rounded = [math.ceil(side * grow / SIZE_FACTOR) * SIZE_FACTOR for side in (height, width)]
    return max(SIZE_FACTOR, min(rounded[0], longest)), max(SIZE_FACTOR, min(rounded[1], longest))
