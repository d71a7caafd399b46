"""The visual signature of a video, by which copies in other bytes are found: picture hashes and the duration."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MIN_CONTRAST = 8.0  # grey levels, standard deviation
_CLEAR_CONTRAST = 16.0  # below it, as while a picture fades in, each encoding rounds the gradients differently


@dataclass(frozen=True)
class VisualSignature:
    """`bits` are the gradient signs of 0 to 2 pictures: 256 bits per picture, 2 bytes per row of it."""

    bits: bytes
    duration_seconds: float


def visual_signature(pictures: Iterable[npt.NDArray[np.uint8]], duration_seconds: float) -> VisualSignature:
    """The signature of a video by some of its pictures in order, grey, uint8 [16, 17].

    It holds the first picture that is not black or plain, as before a fade-in; if that one is faint, also the first
    clear one. Pictures after these are not drawn from the iterator.
    Two pictures are needed because the contrast of a picture can lie at a limit: one copy then takes that picture and
    the other copy does not.
    """
    hashes: list[bytes] = []
    for picture in pictures:
        contrast = picture.std()
        if contrast >= (_CLEAR_CONTRAST if hashes else _MIN_CONTRAST):
            hashes.append(np.packbits(picture[:, 1:] > picture[:, :-1]).tobytes())
        if contrast >= _CLEAR_CONTRAST:
            break
    return VisualSignature(b"".join(hashes), duration_seconds)
