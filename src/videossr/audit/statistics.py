"""What can be said of a frame without looking at the picture: its compression, noise, sharpness and size.

Every statistic is the same for a frame, for its mirror image, for the frame upside down and for the frame with red and
blue exchanged: only planes that keep or change their sign in the exchange, only magnitudes of DCT coefficients, only
symmetric kernels. What the probe finds inside a mirrored, turned or channel-swapped interval can therefore not be the
edit itself; it is a trace of how the frames were written. No statistic compares frames in their order, so that a
shuffle shows nothing of itself either.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from videossr.clip import Clip

_BLOCK = 8
# A coefficient smaller than this counts as zero, and one of half a quantisation step is coded: a little off the round
# numbers, which many coefficients hit exactly, so that the last bit of a sum cannot tell a frame from its mirror image.
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
_BANDS = ((1, 2), (3, 5), (6, 9), (10, 14))  # of horizontal plus vertical frequency, inclusive

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
    """The statistics of every frame of a clip, float64 [T, len(STATISTICS)]; sides must be multiples of 8 pixels."""
    red, green, blue = np.moveaxis(clip.frames.astype(np.float64), 3, 0)
    luma, excess, distance = (red + blue + 2 * green) / 4, (red + blue) / 2 - green, (red - blue) / 2
    columns = [
        _steps(clip),
        *_levels(luma, excess, distance),
        *_luma_coding(luma),
        *_chroma_coding(excess),
        *_chroma_coding(distance),
        *_textures(luma),
    ]
    return np.stack(columns, axis=1)


def _steps(clip: Clip) -> NDArray[np.float64]:
    """Seconds from frame to frame: a clock that ticks otherwise where the edit is would give it away."""
    return np.gradient(clip.times)


def _levels(
    luma: NDArray[np.float64], excess: NDArray[np.float64], distance: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    yield luma.mean((1, 2))
    yield np.log(luma.std((1, 2)) + _TINY)
    yield np.abs(distance).mean((1, 2))
    yield excess.mean((1, 2))


def _luma_coding(luma: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    magnitudes = _coefficients(luma)
    steps = magnitudes / _TABLE_Q75.ravel()
    yield _zero_share(magnitudes)
    for low, high in _BANDS:
        yield _band_energy(magnitudes, low, high)
    yield _misfit(steps)
    yield np.log2(1 + steps).mean((1, 2))


def _chroma_coding(plane: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    magnitudes = _coefficients(plane)
    yield _zero_share(magnitudes)
    yield _band_energy(magnitudes, _BANDS[2][0], _BANDS[3][1])
    yield _misfit(magnitudes / _TABLE_Q75.ravel())


def _textures(luma: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    yield np.log((_across_blocks(luma) + _TINY) / (_within_blocks(luma) + _TINY))
    yield np.array([np.log(cv2.Laplacian(frame, cv2.CV_64F).var() + _TINY) for frame in luma])
    yield np.array([np.log(np.abs(cv2.filter2D(frame, -1, _NOISE_KERNEL)).mean() + _TINY) for frame in luma])
    yield np.array([_entropy_bits(frame) for frame in luma])


# What is left of a picture when everything smooth to the second order is taken away (Immerkaer 1996).
_NOISE_KERNEL = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float64)


def _dct_matrix() -> NDArray[np.float64]:
    """The orthonormal two-dimensional DCT of a flattened 8x8 block, [64, 64]: a block times it is its coefficients."""
    places = np.arange(_BLOCK)
    basis = np.cos(np.pi * places[:, None] * (2 * places + 1) / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    basis[0] /= np.sqrt(2)
    return np.kron(basis, basis).T.astype(np.float64)


_DCT = _dct_matrix()
_FREQUENCY = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).ravel()


def _coefficients(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitudes of the 8x8 DCT coefficients, [T, blocks, 64]: a flipped block has the same ones."""
    count, height, width = plane.shape
    blocks = plane.reshape(count, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).swapaxes(2, 3)
    return np.abs(blocks.reshape(count, -1, _BLOCK * _BLOCK) @ _DCT)


def _zero_share(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (magnitudes < _ZERO).mean((1, 2))


def _band_energy(magnitudes: NDArray[np.float64], low: int, high: int) -> NDArray[np.float64]:
    band = magnitudes[:, :, np.isin(_FREQUENCY, range(low, high + 1))]
    return np.log(np.square(band).mean((1, 2)) + _TINY)


def _misfit(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far coefficients lie from whole quantisation steps, 0..0.5, over those of at least half a step."""
    counted = steps >= _HALF_STEP
    counted[:, :, 0] = False
    distances = np.where(counted, np.abs(steps - np.rint(steps)), 0).sum((1, 2))
    return distances / np.maximum(1, counted.sum((1, 2)))


def _across_blocks(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (np.abs(np.diff(luma, axis=axis)) for axis in (1, 2))
    at = slice(_BLOCK - 1, None, _BLOCK)
    return _mean_of(rows[:, at], columns[:, :, at])


def _within_blocks(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences in the middle of blocks, as far from their edges as can be."""
    rows, columns = (np.abs(np.diff(luma, axis=axis)) for axis in (1, 2))
    at = slice(_BLOCK // 2 - 1, None, _BLOCK)
    return _mean_of(rows[:, at], columns[:, :, at])


def _mean_of(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return (rows.mean((1, 2)) + columns.mean((1, 2))) / 2


def _entropy_bits(frame: NDArray[np.float64]) -> float:
    """Bits a pixel that an ideal coder of differences to neighbours would need; their signs tell the direction."""
    differences = [np.abs(np.diff(frame, axis=axis)).ravel() for axis in (0, 1)]
    counts = np.bincount(np.rint(np.concatenate(differences)).astype(np.intp))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
