"""Which frames of a video are kept, and how large."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from videossr.clip import FrameNumbers, Times
from videossr.decode import Decoder
from videossr.errors import ConfigError
from videossr.parallel import Limits

SIZE_FACTOR = 32  # patch 16 merged 2x2 in Qwen3-VL: sides are multiples of it


@dataclass(frozen=True)
class FramesParams:
    """Which frames are kept, and how large (paper section 4.1: 48 frames of the middle 90 %, at most 256x256).

    `sampling` keyframes moves each frame to a keyframe within half a step, which makes long videos cheap; times stay
    true. `verify_fraction` of the videos is read by two readers, which must agree.
    """

    num_frames: int = 48
    span: tuple[float, float] = (0.05, 0.95)
    max_pixels: int = 65536
    min_pixels: int = 16384
    decoder: Decoder = "auto"
    sampling: Literal["uniform", "keyframes"] = "uniform"
    verify_fraction: float = 0.05
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ConfigError(f"num_frames must be at least 2, got {self.num_frames}")
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise ConfigError(f"span must be two rising fractions of the video within 0..1, got {self.span}")
        if not 0 <= self.verify_fraction <= 1:
            raise ConfigError(f"verify_fraction must lie within 0..1, got {self.verify_fraction}")
        if not SIZE_FACTOR**2 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"{SIZE_FACTOR**2} <= min_pixels <= max_pixels must hold, got {self.min_pixels} and {self.max_pixels}"
            )


def choose_frames(times: Times, num_frames: int, span: tuple[float, float]) -> FrameNumbers | None:
    """Indices of `num_frames` distinct frames, evenly spaced in time over `span` of the clock `times` (seconds, [N]).

    None where the span holds fewer frames. Where a gap in the clock leaves several targets to one frame, neighbours
    are taken, so that every frame is another one.
    """
    start, stop = times[0] + np.array(span) * (times[-1] - times[0])
    first, end = np.searchsorted(times, [start - 1e-9, stop + 1e-9])
    if end - first < num_frames:
        return None
    usable = times[first:end]
    targets = np.linspace(start, stop, num_frames)
    right = np.clip(np.searchsorted(usable, targets), 1, len(usable) - 1)
    nearest = right - (targets - usable[right - 1] <= usable[right] - targets)
    steps = np.arange(num_frames)
    rising = np.maximum.accumulate(nearest - steps) + steps
    return first + np.minimum(rising, len(usable) - num_frames + steps)


def moved_to_keyframes(index: FrameNumbers, times: Times, keyframes: FrameNumbers) -> FrameNumbers:
    """`index` with each frame moved to the nearest of `keyframes` within half a step, where that repeats no frame.

    The span that `index` covers is kept.
    """
    near = keyframes[(keyframes >= index[0]) & (keyframes <= index[-1])]
    if len(near) == 0:
        return index
    right = np.clip(np.searchsorted(times[near], times[index]), 1, max(1, len(near) - 1))
    before, after = near[right - 1], near[np.minimum(right, len(near) - 1)]
    nearest = np.where(times[index] - times[before] <= times[after] - times[index], before, after)
    half_step = (times[index[-1]] - times[index[0]]) / (len(index) - 1) / 2
    moved = np.where(np.abs(times[nearest] - times[index]) <= half_step, nearest, index)
    while np.any(clash := np.diff(moved) <= 0):  # an uneven clock: whoever clashes stays where it was
        stays = np.append(clash, False) | np.insert(clash, 0, False)
        moved = np.where(stays, index, moved)
    return moved


def fitted_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width) in multiples of 32 within the pixel bounds, aspect kept as well as rounding allows.

    The rounding is that of Qwen's `smart_resize` with factor 32, so that the model's processor changes nothing more.
    Differs: a strip too long for the bounds is squeezed, not refused.
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
