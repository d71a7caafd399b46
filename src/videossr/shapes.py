"""Placing and drawing the circles, squares and triangles of object counting (paper, section 3.2 and appendix).

Sizes are fractions of the frame's short side, centres fractions of its width and height: the same drawing fits every
frame, and two shapes apart on a square frame are apart on any other.

Differs: the published code keeps shapes that overlap after 20 tries, so that some cannot be counted; here a crowd that
finds no room is not placed at all.
"""

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("circle", "square", "triangle")
SIZE = (0.2, 0.4)
CHANNEL = (50, 255)
CENTRAL = 0.7
# Channels start at 50, so a black rim shows wherever the fill happens to be the colour of what lies behind it.
RIM_RGB = (0, 0, 0)
_RIM_WIDTH = 0.02
_GAP = 0.02
_TRIES_PER_SHAPE = 24
_TRIES_PER_CROWD = 12
_SHIFT = 6

# Radius of the smallest circle around a shape of size 1; the size is a disc's diameter, a square's or triangle's side.
_REACH = {"circle": 0.5, "square": math.sqrt(0.5), "triangle": 1 / math.sqrt(3)}
_CORNERS = {"square": 4, "triangle": 3}


def place(rng: np.random.Generator, kind: str, count: int) -> list[dict[str, Any]] | None:
    """Choose place, size, angle and colour of `count` shapes of one kind, none overlapping, all inside the frame.

    Returns JSON-ready shapes {kind, cx, cy, size, angle, rgb}; None where no room was found for so many.
    """
    for _ in range(_TRIES_PER_CROWD):
        crowd: list[dict[str, Any]] = []
        while len(crowd) < count:
            shape = _fitting(rng, kind, crowd)
            if shape is None:
                break
            crowd.append(shape)
        if len(crowd) == count:
            return crowd
    return None


def _fitting(rng: np.random.Generator, kind: str, crowd: list[dict[str, Any]]) -> dict[str, Any] | None:
    for draw in rng.random((_TRIES_PER_SHAPE, 3)).tolist():
        size = SIZE[0] + draw[0] * (SIZE[1] - SIZE[0])
        edge = max((1 - CENTRAL) / 2, reach(kind, size))
        cx, cy = (edge + place * (1 - 2 * edge) for place in draw[1:])
        if all(_apart(kind, size, cx, cy, other) for other in crowd):
            rgb = rng.integers(CHANNEL[0], CHANNEL[1] + 1, 3).tolist()
            angle = round(float(rng.uniform(0, 360)), 1)
            return {
                "kind": kind,
                "cx": round(cx, 4),
                "cy": round(cy, 4),
                "size": round(size, 4),
                "angle": angle,
                "rgb": rgb,
            }
    return None


def reach(kind: str, size: float) -> float:
    """The radius, in fractions of the short side, of the smallest circle around a shape."""
    return _REACH[kind] * size


def _apart(kind: str, size: float, cx: float, cy: float, other: Mapping[str, Any]) -> bool:
    needed = reach(kind, size) + reach(other["kind"], other["size"]) + _GAP
    return math.hypot(cx - other["cx"], cy - other["cy"]) >= needed


def draw(frame: NDArray[np.uint8], shape: Mapping[str, Any]) -> None:
    """Draw one shape into an RGB frame uint8 [H,W,3], in place: filled, with a thin dark rim, antialiased."""
    height, width = frame.shape[:2]
    short = min(height, width)
    centre = (shape["cx"] * width - 0.5, shape["cy"] * height - 0.5)
    radius = reach(shape["kind"], shape["size"]) * short
    rim = max(1, round(_RIM_WIDTH * short))
    if shape["kind"] == "circle":
        point = (round(centre[0] * 2**_SHIFT), round(centre[1] * 2**_SHIFT))
        for colour, thickness in ((shape["rgb"], cv2.FILLED), (RIM_RGB, rim)):
            cv2.circle(frame, point, round((radius - rim / 2) * 2**_SHIFT), colour, thickness, cv2.LINE_AA, _SHIFT)
        return
    turns = np.deg2rad(shape["angle"]) + 2 * np.pi * np.arange(_CORNERS[shape["kind"]]) / _CORNERS[shape["kind"]]
    corners = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (radius - rim / 2) + centre
    polygon = [np.rint(corners * 2**_SHIFT).astype(np.int32)]
    cv2.fillPoly(frame, polygon, shape["rgb"], cv2.LINE_AA, _SHIFT)
    cv2.polylines(frame, polygon, True, RIM_RGB, rim, cv2.LINE_AA, _SHIFT)
