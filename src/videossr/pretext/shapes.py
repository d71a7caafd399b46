"""Placing and drawing the circles, squares and triangles of object counting (paper, section 3.2 and appendix).

Sizes are fractions of the frame's short side, centres fractions of its width and height: the same drawing fits every
frame, and two shapes apart on a square frame are apart on any other.

Differs: the published code keeps shapes that overlap after 20 tries, so that some cannot be counted; here a crowd that
finds no room is not placed at all.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("circle", "square", "triangle")
SIZE_RANGE = (0.2, 0.4)
CHANNEL_RANGE = (50, 255)
CENTRAL_FRACTION = 0.7
# Channels start at 50, so a black rim shows wherever the fill happens to be the colour of what lies behind it.
RIM_RGB = (0, 0, 0)
_RIM_WIDTH = 0.02
_GAP = 0.04
_TRIES_PER_SHAPE = 20
_TRIES_PER_CROWD = 16
_SHIFT = 6  # OpenCV's coordinates in 64ths of a pixel

# Radius of the smallest circle around a shape of size 1; the size is a disc's diameter, a square's or triangle's side.
_REACH = {"circle": 0.5, "square": math.sqrt(0.5), "triangle": 1 / math.sqrt(3)}
_CORNERS = {"circle": 64, "square": 4, "triangle": 3}


def place(rng: np.random.Generator, kind: str, count: int) -> list[dict[str, Any]] | None:
    """Choose place, size, angle and colour of `count` shapes of one kind, none overlapping, all inside the frame.

    Returns JSON-ready shapes {kind, cx, cy, size, angle, rgb}; None where no room was found for so many.
    """
    for attempt in range(_TRIES_PER_CROWD):
        # Large shapes may block each other: each new attempt draws smaller ones.
        largest = SIZE_RANGE[1] - (SIZE_RANGE[1] - SIZE_RANGE[0]) * attempt / (_TRIES_PER_CROWD - 1)
        crowd: list[dict[str, Any]] = []
        while len(crowd) < count:
            shape = _fitting(rng, kind, largest, crowd)
            if shape is None:
                break
            crowd.append(shape)
        if len(crowd) == count:
            return crowd
    return None


def _fitting(
    rng: np.random.Generator, kind: str, largest: float, crowd: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    for chance in rng.random((_TRIES_PER_SHAPE, 3)).tolist():
        size = round(SIZE_RANGE[0] + chance[0] * (largest - SIZE_RANGE[0]), 4)
        edge = max((1 - CENTRAL_FRACTION) / 2, bounding_radius(kind, size) + _GAP / 2)
        cx, cy = (round(edge + place * (1 - 2 * edge), 4) for place in chance[1:])
        if all(_apart(kind, size, cx, cy, other) for other in crowd):
            angle = round(float(rng.uniform(0, 360)), 1)
            rgb = rng.integers(CHANNEL_RANGE[0], CHANNEL_RANGE[1] + 1, 3).tolist()
            return {"kind": kind, "cx": cx, "cy": cy, "size": size, "angle": angle, "rgb": rgb}
    return None


def bounding_radius(kind: str, size: float) -> float:
    """The radius, in fractions of the short side, of the smallest circle around a shape."""
    return _REACH[kind] * size


def _apart(kind: str, size: float, cx: float, cy: float, other: Mapping[str, Any]) -> bool:
    needed = bounding_radius(kind, size) + bounding_radius(other["kind"], other["size"]) + _GAP
    return math.hypot(cx - other["cx"], cy - other["cy"]) >= needed


def draw(frame: NDArray[np.uint8], shape: Mapping[str, Any]) -> None:
    """Draw one shape into an RGB frame uint8 [H,W,3], in place: filled, with a thin dark rim inside its outline."""
    height, width = frame.shape[:2]
    short = min(height, width)
    centre = np.array([shape["cx"] * width, shape["cy"] * height]) - 0.5
    radius = bounding_radius(shape["kind"], shape["size"]) * short
    corners = _CORNERS[shape["kind"]]
    # OpenCV's antialiasing lays half a pixel around what it fills.
    for rgb, inset in ((RIM_RGB, 0.5), (shape["rgb"], 0.5 + max(1.0, _RIM_WIDTH * short))):
        # What is taken off evenly along the sides is more than that off the corners.
        polygon = _polygon(centre, radius - inset / math.cos(math.pi / corners), corners, shape["angle"])
        cv2.fillPoly(frame, [np.rint(polygon * 2**_SHIFT).astype(np.int32)], rgb, cv2.LINE_AA, _SHIFT)


def _polygon(centre: NDArray[np.float64], radius: float, corners: int, angle: float) -> NDArray[np.float64]:
    turns = np.deg2rad(angle) + 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius + centre
