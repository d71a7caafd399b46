"""Statistics of single frames that describe no content: compression, noise, sharpness, size, brightness and colour.

A frame has the same statistics as its mirror images in both directions, its rotation by 180 degrees, and the frame
with red and blue exchanged. This holds because all planes keep their values or only change their sign in that exchange,
DCT coefficients enter by magnitude, and kernels are symmetric. So if the probe finds a mirrored, rotated or
channel-swapped interval, it has not found the edit itself but a trace of how the frames were written. No statistic
compares one frame with another, so a shuffle does not show itself either.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from videossr.clip import Clip

_BLOCK = 8
# Thresholds: a DCT coefficient below _ZERO counts as zero, one of at least _HALF_STEP quantisation steps is coded. Many
# coefficients are exactly 1 or half a step. The thresholds differ from these numbers a little, so that the last bit of
# a sum cannot distinguish a frame from its mirror image.
_ZERO = 0.9973
_HALF_STEP = 0.5037
_TINY = 1e-2
# The luminance table of the JPEG standard (ITU-T T.81, annex K) at quality 75, which is PIL's default.
_TABLE_Q75 = (
    np.array(
        [
            [16, 11, 10, 16, 24, 40, 51, 61],
            [12, 12, 14, 19, 26, 58, 60, 55],
            [14, 13, 16, 24, 40, 57, 69, 56],
            [14, 17, 22, 29, 51, 87, 80, 62],
            [18, 22, 37, 56, 68, 109, 103, 77],
            [24, 35, 55, 64, 81, 104, 113, 92],
            [49, 64, 78, 87, 103, 121, 120, 101],
            [72, 92, 95, 98, 112, 100, 103, 99],
        ]
    )
    + 1
) // 2
_BANDS = ((1, 2), (3, 5), (6, 9), (10, 14))  # first and last sum of horizontal and vertical frequency

# Names in the order of the columns of `clip_statistics`. They are written to audit.json.
STATISTICS = (
    "step of the clock",
    "mean luma",
    "spread of luma",
    "mean red-blue distance",
    "mean green excess",
    "luma: zero coefficients",
    *(f"luma: energy of band {low}-{high}" for low, high in _BANDS),
    "luma: misfit to JPEG steps",
    "luma: size as JPEG",
    *(
        f"{plane}: {name}"
        for plane in ("green excess", "red-blue")
        for name in ("zero coefficients", "energy of band 6-14", "misfit to JPEG steps")
    ),
    "blockiness",
    "sharpness",
    "noise",
    "size without loss",
)


def clip_statistics(clip: Clip) -> NDArray[np.float64]:
    """The statistics of every frame of a clip, float64 [T, len(STATISTICS)].

    Height and width must be multiples of 8 pixels.
    """
    red, green, blue = np.moveaxis(clip.frames.astype(np.float64), 3, 0)
    luma, green_excess, red_blue = (red + blue + 2 * green) / 4, (red + blue) / 2 - green, (red - blue) / 2
    columns = [
        _time_steps(clip),
        *_brightness_and_colour(luma, green_excess, red_blue),
        *_luma_coding(luma),
        *_chroma_coding(green_excess),
        *_chroma_coding(red_blue),
        *_textures(luma),
    ]
    return np.stack(columns, axis=1)


def _time_steps(clip: Clip) -> NDArray[np.float64]:
    """Seconds between adjacent frames: a different step inside the edited interval would be a shortcut."""
    return np.gradient(clip.times)


def _brightness_and_colour(
    luma: NDArray[np.float64], green_excess: NDArray[np.float64], red_blue: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    yield luma.mean((1, 2))
    yield np.log(luma.std((1, 2)) + _TINY)
    yield np.abs(red_blue).mean((1, 2))
    yield green_excess.mean((1, 2))


def _luma_coding(luma: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    magnitudes = _dct_magnitudes(luma)
    steps = magnitudes / _TABLE_Q75.ravel()
    yield _zero_share(magnitudes)
    for low, high in _BANDS:
        yield _band_energy(magnitudes, low, high)
    yield _rounding_distance(steps)
    yield np.log2(1 + steps).mean((1, 2))


def _chroma_coding(plane: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    magnitudes = _dct_magnitudes(plane)
    yield _zero_share(magnitudes)
    yield _band_energy(magnitudes, _BANDS[2][0], _BANDS[3][1])
    yield _rounding_distance(magnitudes / _TABLE_Q75.ravel())


def _textures(luma: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    yield np.log((_difference_across_blocks(luma) + _TINY) / (_difference_within_blocks(luma) + _TINY))
    yield np.array([np.log(cv2.Laplacian(frame, cv2.CV_64F).var() + _TINY) for frame in luma])
    yield np.array([np.log(np.abs(cv2.filter2D(frame, -1, _NOISE_KERNEL)).mean() + _TINY) for frame in luma])
    yield np.array([_entropy_bits(frame) for frame in luma])


# Removes everything that is smooth to the second order; the rest is noise (Immerkaer 1996).
_NOISE_KERNEL = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float64)


def _dct_matrix() -> NDArray[np.float64]:
    """Matrix [64, 64] of the orthonormal two-dimensional DCT: a flattened 8x8 block @ matrix = its coefficients."""
    index = np.arange(_BLOCK)
    basis = np.cos(np.pi * index[:, None] * (2 * index + 1) / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    basis[0] /= np.sqrt(2)
    return np.kron(basis, basis).T.astype(np.float64)


_DCT = _dct_matrix()
_FREQUENCY = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).ravel()


def _dct_magnitudes(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitudes of the DCT coefficients of the 8x8 blocks of a plane [T, H, W]: [T, blocks, 64].

    A flipped block has the same magnitudes: a flip only changes signs.
    """
    count, height, width = plane.shape
    blocks = plane.reshape(count, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).swapaxes(2, 3)
    return np.abs(blocks.reshape(count, -1, _BLOCK * _BLOCK) @ _DCT)


def _zero_share(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (magnitudes < _ZERO).mean((1, 2))


def _band_energy(magnitudes: NDArray[np.float64], low: int, high: int) -> NDArray[np.float64]:
    band = magnitudes[:, :, np.isin(_FREQUENCY, range(low, high + 1))]
    return np.log(np.square(band).mean((1, 2)) + _TINY)


def _rounding_distance(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance [T] of coefficients (in quantisation steps) to the nearest integer, 0..0.5.

    Ignores coefficients below half a step, and the first of each block, which is its mean. A frame that was quantised
    with these steps has a small distance.
    """
    is_coded = steps >= _HALF_STEP
    is_coded[:, :, 0] = False
    distances = np.where(is_coded, np.abs(steps - np.rint(steps)), 0).sum((1, 2))
    return distances / np.maximum(1, is_coded.sum((1, 2)))


def _difference_across_blocks(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean difference of adjacent pixels on the two sides of a block's edge."""
    rows, columns = (np.abs(np.diff(luma, axis=axis)) for axis in (1, 2))
    positions = slice(_BLOCK - 1, None, _BLOCK)
    return _mean_of_axes(rows[:, positions], columns[:, :, positions])


def _difference_within_blocks(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean difference of the two adjacent pixels in the middle of a block, which are farthest from its edges."""
    rows, columns = (np.abs(np.diff(luma, axis=axis)) for axis in (1, 2))
    positions = slice(_BLOCK // 2 - 1, None, _BLOCK)
    return _mean_of_axes(rows[:, positions], columns[:, :, positions])


def _mean_of_axes(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return (rows.mean((1, 2)) + columns.mean((1, 2))) / 2


def _entropy_bits(frame: NDArray[np.float64]) -> float:
    """Entropy of the differences between adjacent pixels, in bits: the size under an ideal lossless coder.

    Only magnitudes count: the sign would depend on the direction, which a flip reverses.
    """
    differences = [np.abs(np.diff(frame, axis=axis)).ravel() for axis in (0, 1)]
    counts = np.bincount(np.rint(np.concatenate(differences)).astype(np.intp))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
