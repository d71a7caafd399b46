"""From a stored frame to an upright picture: scaled, then rotated or mirrored by its display matrix."""

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

_INTERPOLATION = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor
_MAX_PIXEL_ASPECT = 10.0  # the widest in use are about 2
_MAX_OFF_AXIS = 1 / 64  # largest ratio of off-axis to on-axis entries in a display matrix: less than one degree


@dataclass(frozen=True)
class Orientation:
    """How to bring a stored picture upright: first swap rows and columns, then flip."""

    swap_axes: bool = False
    flip_vertically: bool = False
    flip_horizontally: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether the upright picture is a mirror image of the stored one, which no rotation produces."""
        return self.swap_axes ^ self.flip_vertically ^ self.flip_horizontally


def read_orientation(frame: VideoFrame) -> Orientation:
    """Read the display matrix of a frame. Its scale is ignored: the pixel aspect gives the displayed size.

    Call it for one frame of a video only: PyAV keeps a frame whose side data were read until the garbage collector
    runs. Raises DecodeError if the matrix is neither a multiple of a quarter turn nor a mirror, so that no upright
    picture exists.
    """
    a, b, c, d = _display_matrix(frame)
    if not any((a, b, c, d)):  # some writers leave the matrix empty: it means nothing
        return Orientation()
    if max(abs(b), abs(c)) < _MAX_OFF_AXIS * min(abs(a), abs(d)):
        return Orientation(False, d < 0, a < 0)
    if max(abs(a), abs(d)) < _MAX_OFF_AXIS * min(abs(b), abs(c)):
        return Orientation(True, b < 0, c < 0)
    raise DecodeError("unsupported", "its display matrix is neither a multiple of a quarter turn nor a mirror")


def _display_matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    """Return a, b, c, d up to a common factor: the stored pixel (x, y) is shown at (a x + c y, b x + d y)."""
    try:
        side_data = cast(SideDataContainer, frame.side_data)
    except ValueError:  # PyAV knows no name for other side data such as EXIF; `rotation` works, but has no mirrors
        return _rotation_matrix(frame.rotation)
    if "DISPLAYMATRIX" not in side_data:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32)[:5].tolist()
    return a, b, c, d


def _rotation_matrix(degrees: int) -> tuple[float, float, float, float]:
    """Return the matrix of a counterclockwise rotation, or an empty matrix if `degrees` is not an angle."""
    if abs(degrees) > 180:
        return 0, 0, 0, 0
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cosine, -sine, sine, cosine


def displayed_size(stream: VideoStream, frame: VideoFrame, orientation: Orientation) -> tuple[int, int]:
    """Return (width, height) after pixel aspect and rotation. A pixel aspect that no camera has is ignored."""
    aspect = float(stream.sample_aspect_ratio or 1)
    is_sane = 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT
    width = max(1, round(frame.width * aspect)) if is_sane else frame.width
    return (frame.height, width) if orientation.swap_axes else (width, frame.height)


def to_upright_rgb(frame: VideoFrame, size: tuple[int, int], orientation: Orientation) -> Pixels:
    """Return an upright RGB picture of `size` (height, width), uint8 [H, W, 3].

    The frame is scaled before it is rotated, so that fewer pixels are moved.
    """
    height, width = size[::-1] if orientation.swap_axes else size
    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation=_INTERPOLATION, threads=1)
    pixels = scaled.to_ndarray()
    pixels = pixels.swapaxes(0, 1) if orientation.swap_axes else pixels
    pixels = pixels[::-1] if orientation.flip_vertically else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if orientation.flip_horizontally else pixels)


def to_grey(pixels: Pixels) -> Pixels:
    """Average the channels of an RGB picture: uint8 [H, W].

    It starts from RGB because the conversion to RGB has applied the colour range and matrix of the file.
    """
    return pixels.mean(axis=2).round().astype(np.uint8)
