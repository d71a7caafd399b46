"""What of a video is compared to find copies of it in other bytes: a few pictures as bits, and its length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MIN_CONTRAST = 8.0  # grey levels, standard deviation
_CLEAR_CONTRAST = 16.0  # while a picture fades in, every encoding rounds its slopes in a way of its own


@dataclass(frozen=True)
class VisualSignature:
    """What is compared: 256 bits of one or two pictures, two bytes a row; none where no picture has structure."""

    bits: bytes
    duration_seconds: float


def visual_signature(pictures: Iterable[npt.NDArray[np.uint8]], duration_seconds: float) -> VisualSignature:
    """Of the first of some grey pictures, uint8 [16, 17], that has structure, and where it is faint, of the first clear
    one too; and a length. The rest is not drawn.

    Two pictures, because copies of one whose contrast lies at a limit come to lie on either side of it.
    """
    looks: list[bytes] = []
    for picture in pictures:
        contrast = picture.std()
        if contrast >= (_CLEAR_CONTRAST if looks else _MIN_CONTRAST):
            looks.append(np.packbits(picture[:, 1:] > picture[:, :-1]).tobytes())
        if contrast >= _CLEAR_CONTRAST:
            break
    return VisualSignature(b"".join(looks), duration_seconds)
