"""The interface of a pretext task, and the frame selection and differences that the tasks share."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from videossr.clip import Clip, Pixels
from videossr.errors import ConfigError
from videossr.records import FrameTimes, Sample

_BLOCK_PIXELS = 4  # side of an averaged block; sides of stored frames are multiples of 32


class PretextTask(Protocol):
    """A pretext task: a frozen dataclass whose fields are its section of the parameters.

    The tests check these rules for every task. The answer scores 1 against itself and follows from the edit alone. The
    same generator state gives the same sample. Rendering changes neither the store nor the frames outside the edit.
    """

    variants: ClassVar[tuple[str, ...]]

    def fits(self, video: FrameTimes, variant: str) -> bool:
        """Whether the video allows a sample of this variant. Raises ConfigError if the parameters allow none at all."""
        ...

    def generate(self, video: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()) -> Sample:
        """Draw a sample without reading pixels; `donors` are the ids of videos whose frames it may insert.

        `sample_id` is empty: the data set assigns it.
        """
        ...

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        """Render the clips from the edit alone, one for each `<video>` marker of the question. Draws nothing."""
        ...

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        """The clips that `render` would return without the edit: same number, shapes and shown times."""
        ...

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        """How visible the edit is: the mean absolute difference of channels, 0..255, where it changes the video."""
        ...

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        """The right answer, from the edit and the stored times in seconds [T]; `generate` calls it too."""
        ...


def shown_indices(num_stored: int, num_shown: int) -> NDArray[np.intp]:
    """Indices of `num_shown` of the stored frames: every k-th, from the first.

    Raises ConfigError if `num_stored` is not a multiple of `num_shown`: the shown frames would not be evenly spaced.
    """
    if num_shown < 1 or num_stored % num_shown:
        raise ConfigError(
            f"frames.num_frames must be a multiple of the frames that a sample shows, got {num_stored} stored and "
            f"{num_shown} shown"
        )
    return np.arange(num_shown) * (num_stored // num_shown)


def mean_difference(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference of two uint8 arrays of the same shape, 0..255."""
    return float(np.abs(first.astype(np.int16) - second).mean())


def coarse_difference(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference after averaging blocks of 4x4 pixels, frames [T,H,W,3]: noise then counts for little.

    A side that is no multiple of 4 is compared up to the last whole block.
    """
    count, height, width, channels = first.shape
    rows, columns = height // _BLOCK_PIXELS, width // _BLOCK_PIXELS
    total = 0.0
    for one, two in zip(first, second, strict=True):  # a frame at a time stays in the processor's cache
        # Exact: sums of 16 differences of bytes, divided by 16, have few enough digits for float32.
        difference = cv2.subtract(one, two, dtype=cv2.CV_32F)[: rows * _BLOCK_PIXELS, : columns * _BLOCK_PIXELS]
        blocks = cv2.resize(difference, (columns, rows), interpolation=cv2.INTER_AREA)
        total += cv2.norm(blocks, cv2.NORM_L1)
    return total / (count * rows * columns * channels)
