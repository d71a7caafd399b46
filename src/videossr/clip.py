"""Clips: frames with their presentation times."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Ticks = npt.NDArray[np.int64]
FrameNumbers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Clip:
    """Frames with their presentation times.

    `frames` is uint8 [T, H, W, 3] RGB; `times` is float64 [T], seconds, strictly increasing. Raises ValueError on any
    other shape, type or order.
    """

    frames: Pixels
    times: Times

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], got {self.frames.dtype} {self.frames.shape}")
        if self.times.dtype != np.float64 or self.times.shape != self.frames.shape[:1]:
            raise ValueError(f"times must be float64 [{len(self.frames)}], got {self.times.dtype} {self.times.shape}")
        if not np.all(np.diff(self.times) > 0):
            raise ValueError("times must be strictly increasing")

    def __len__(self) -> int:
        return len(self.times)

    def frames_at(self, indices: FrameNumbers) -> Pixels:
        """Copies of the frames at `indices` [N], in this order and with repetitions, uint8 [N, H, W, 3]."""
        return self.frames[indices]
