"""Placing and drawing the circles, squares and triangles of object counting (paper, section 3.2 and appendix).

Sizes are fractions of the frame's short side, centres fractions of its width and height. A drawing therefore fits every
frame, and shapes that do not overlap on a square frame do not overlap on any other.

Differs: the published code keeps shapes that still overlap after 20 attempts, so that some cannot be counted; here
`place` returns None instead.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from videossr.clip import Pixels

KINDS = ("circle", "square", "triangle")
SIZE_RANGE = (0.2, 0.4)
CHANNEL_RANGE = (50, 255)
CENTRAL_FRACTION = 0.7
# Fill channels start at 50, so the black rim is visible even if the fill has the colour of the background.
RIM_RGB = (0, 0, 0)
_RIM_WIDTH = 0.02
_MIN_GAP = 0.04
_ATTEMPTS_PER_SHAPE = 20
_ATTEMPTS_PER_FRAME = 16
_SUBPIXEL_BITS = 6  # OpenCV reads coordinates in 64ths of a pixel

# Radius of the smallest circle around a shape of size 1; the size is a disc's diameter, a square's or triangle's side.
_UNIT_RADIUS = {"circle": 0.5, "square": math.sqrt(0.5), "triangle": 1 / math.sqrt(3)}
_NUM_CORNERS = {"circle": 64, "square": 4, "triangle": 3}


def place(rng: np.random.Generator, kind: str, count: int) -> list[dict[str, Any]] | None:
    """Draw position, size, angle and colour of `count` shapes of one kind, without overlap, all inside the frame.

    Returns JSON-ready shapes {kind, cx, cy, size, angle, rgb}, or None if no free position was found for all of them.
    """
    for attempt in range(_ATTEMPTS_PER_FRAME):
        # Large shapes may leave no room for the next one: each new attempt lowers the largest size.
        largest = SIZE_RANGE[1] - (SIZE_RANGE[1] - SIZE_RANGE[0]) * attempt / (_ATTEMPTS_PER_FRAME - 1)
        placed: list[dict[str, Any]] = []
        while len(placed) < count:
            shape = _draw_free_shape(rng, kind, largest, placed)
            if shape is None:
                break
            placed.append(shape)
        if len(placed) == count:
            return placed
    return None


def bounding_radius(kind: str, size: float) -> float:
    """The radius, in fractions of the short side, of the smallest circle around a shape."""
    return _UNIT_RADIUS[kind] * size


def draw(frame: Pixels, shape: Mapping[str, Any]) -> None:
    """Draw one shape into a frame uint8 [H,W,3] or [H,W], in place: filled, with a thin dark rim inside its outline.

    `rgb` of the shape has as many values as the frame has channels.
    """
    height, width = frame.shape[:2]
    short_side = min(height, width)
    centre = np.array([shape["cx"] * width, shape["cy"] * height]) - 0.5
    radius = bounding_radius(shape["kind"], shape["size"]) * short_side
    num_corners = _NUM_CORNERS[shape["kind"]]
    # OpenCV's antialiasing adds half a pixel around the polygon.
    for rgb, inset in ((RIM_RGB, 0.5), (shape["rgb"], 0.5 + max(1.0, _RIM_WIDTH * short_side))):
        # To move the sides inwards by `inset`, the corners must move by more.
        polygon = _polygon(centre, radius - inset / math.cos(math.pi / num_corners), num_corners, shape["angle"])
        fixed_point = np.rint(polygon * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(frame, [fixed_point], rgb, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_free_shape(
    rng: np.random.Generator, kind: str, largest: float, placed: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Draw a shape of at most this size that overlaps none of `placed`; None after 20 attempts."""
    for chance in rng.random((_ATTEMPTS_PER_SHAPE, 3)).tolist():
        size = round(SIZE_RANGE[0] + chance[0] * (largest - SIZE_RANGE[0]), 4)
        margin = max((1 - CENTRAL_FRACTION) / 2, bounding_radius(kind, size) + _MIN_GAP / 2)
        cx, cy = (round(margin + fraction * (1 - 2 * margin), 4) for fraction in chance[1:])
        if all(_are_apart(kind, size, cx, cy, other) for other in placed):
            angle = round(float(rng.uniform(0, 360)), 1)
            rgb = rng.integers(CHANNEL_RANGE[0], CHANNEL_RANGE[1] + 1, 3).tolist()
            return {"kind": kind, "cx": cx, "cy": cy, "size": size, "angle": angle, "rgb": rgb}
    return None


def _are_apart(kind: str, size: float, cx: float, cy: float, other: Mapping[str, Any]) -> bool:
    min_distance = bounding_radius(kind, size) + bounding_radius(other["kind"], other["size"]) + _MIN_GAP
    return math.hypot(cx - other["cx"], cy - other["cy"]) >= min_distance


def _polygon(centre: NDArray[np.float64], radius: float, num_corners: int, angle: float) -> NDArray[np.float64]:
    """Corners [num_corners, 2] of a regular polygon, the first at `angle` degrees."""
    angles = np.deg2rad(angle) + 2 * np.pi * np.arange(num_corners) / num_corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + centre
