"""From a stored picture to the upright one: scaled, then turned or mirrored as its display matrix says."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from videossr.clip import Pixels
from videossr.errors import DecodeError

_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor
_STRAY = 1 / 64  # what a matrix may hold off its axes, of what it holds on them: less than a degree


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is brought upright: rows and columns change places first, then it is flipped."""

    transposed: bool = False
    upside_down: bool = False
    right_to_left: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether the upright picture is a mirror image of the stored one: no turn alone brings it upright."""
        return self.transposed ^ self.upside_down ^ self.right_to_left


def read_orientation(frame: VideoFrame) -> Orientation:
    """What the display matrix of a frame says; its scale is left to the pixel aspect.

    To be asked of one frame of a video: PyAV keeps a frame whose side data were looked at until garbage is collected.
    Raises DecodeError where the matrix is neither made of quarter turns nor a flip: nothing would stand upright.
    """
    a, b, c, d = _display_matrix(frame)
    if not any((a, b, c, d)):  # careless writers leave it empty, which says nothing
        return Orientation()
    if max(abs(b), abs(c)) < _STRAY * min(abs(a), abs(d)):
        return Orientation(False, d < 0, a < 0)
    if max(abs(a), abs(d)) < _STRAY * min(abs(b), abs(c)):
        return Orientation(True, b < 0, c < 0)
    raise DecodeError("unsupported", "its display matrix is neither made of quarter turns nor a flip")


def _display_matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    """a, b, c, d, by any factor: a stored place (x, y) is shown at (a x + c y, b x + d y)."""
    try:
        attached = cast(SideDataContainer, frame.side_data)
    except ValueError:  # PyAV has no word for what else is attached, such as EXIF: it tells turns then, and no mirrors
        return _turning(frame.rotation)
    if "DISPLAYMATRIX" not in attached:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(attached["DISPLAYMATRIX"]), np.int32)[:5].tolist()
    return a, b, c, d


def _turning(degrees: int) -> tuple[float, float, float, float]:
    """The matrix of a turn counterclockwise; the empty one for what is no angle."""
    if abs(degrees) > 180:
        return 0, 0, 0, 0
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cosine, -sine, sine, cosine


def displayed_size(stream: VideoStream, frame: VideoFrame, how: Orientation) -> tuple[int, int]:
    """(width, height) after pixel aspect and rotation."""
    aspect = stream.sample_aspect_ratio
    width = round(frame.width * float(aspect)) if aspect else frame.width
    return (frame.height, width) if how.transposed else (width, frame.height)


def to_upright(frame: VideoFrame, size: tuple[int, int], how: Orientation) -> Pixels:
    """One upright RGB frame, uint8 [H, W, 3]: scaled first, then turned, so that little is turned."""
    height, width = size[::-1] if how.transposed else size
    pixels = frame.reformat(width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1).to_ndarray()
    pixels = pixels.swapaxes(0, 1) if how.transposed else pixels
    pixels = pixels[::-1] if how.upside_down else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if how.right_to_left else pixels)


def to_grey(pixels: Pixels) -> Pixels:
    """A grey picture, uint8 [H, W], of an RGB one: the range and the matrix of the file are settled in that already."""
    return pixels.mean(axis=2).round().astype(np.uint8)
