"""What a pretext task is, and how every task picks the frames that a puzzle shows."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.records import FrameTimes, Sample

_SQUARE = 4  # pixels; sides of stored frames are multiples of 32


class PretextTask(Protocol):
    """A kind of puzzle: a frozen dataclass whose fields are its section of the parameters.

    Laws that the tests hold every task to: the answer scores 1 against itself and follows from the edit alone; the same
    generator gives the same sample; rendering leaves the store alone and every frame outside the edit as it is.
    """

    variants: ClassVar[tuple[str, ...]]

    def fits(self, footage: FrameTimes, variant: str) -> bool:
        """Whether a puzzle of this variant can be asked of the video; raises ConfigError where no video could do."""
        ...

    def generate(
        self, footage: FrameTimes, variant: str, rng: np.random.Generator, donors: Sequence[str] = ()
    ) -> Sample:
        """Decide a puzzle without seeing a pixel. `sample_id` is left empty: the data set names its samples."""
        ...

    def render(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        """Draw the puzzle from its edit alone, one clip for each `<video>` of its question; decides nothing."""
        ...

    def render_clean(self, sample: Sample, store: Mapping[str, Clip]) -> list[Clip]:
        """What `render` would return had nothing been edited: same clips, same shapes, same shown times."""
        ...

    def perceptibility(self, sample: Sample, store: Mapping[str, Clip]) -> float:
        """How much the edit changes what is seen where it acts: mean absolute difference of channels, 0..255."""
        ...

    def answer(self, edit: Mapping[str, Any], times: ArrayLike) -> str:
        """The right answer, from the edit and the stored times in seconds [T]; `generate` uses the same function."""
        ...


def shown_indices(num_stored: int, num_shown: int) -> NDArray[np.intp]:
    """Every k-th of the stored frames, `num_shown` of them, the first included.

    Raises ConfigError where the stored frames are no multiple of the shown: the clock would run unevenly.
    """
    if num_shown < 1 or num_stored % num_shown:
        raise ConfigError(
            f"frames.num_frames must be a multiple of the frames a puzzle shows, got {num_stored} stored and "
            f"{num_shown} shown"
        )
    return np.arange(num_shown) * (num_stored // num_shown)


def mean_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two blocks of pixels of one shape, 0..255."""
    return float(np.abs(first.astype(np.int16) - second).mean())


def coarse_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The same of the means of squares of 4x4 pixels, frames [T,H,W,3]: noise makes no frame another one."""
    count, height, width, channels = first.shape
    height, width = height // _SQUARE, width // _SQUARE
    apart = (first.astype(np.int16) - second)[:, : height * _SQUARE, : width * _SQUARE]
    squares = apart.reshape(count, height, _SQUARE, width, _SQUARE, channels)
    return float(np.abs(squares.mean(axis=(2, 4))).mean())
