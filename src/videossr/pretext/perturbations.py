"""The seventeen perturbations of anomaly grounding, as one table (paper, section 3.2 and appendix).

A perturbation is drawn once for its whole interval and written into the sample as plain JSON data; `apply` follows that
data and draws nothing. Strengths that are lengths (the blur radius) are pixels of the stored frame, which is what the
model sees, so that a puzzle is as hard whatever the size of the source.

Differs: the published code draws noise and zoom anew for each frame, and its quarter turns change the frame's size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Params = Mapping[str, Any]

SATURATION_FACTOR = 2.0
BLUR_SIGMA_PIXELS = 2.0
NOISE_SIGMA = (35.0, 70.0)
ZOOM_IN_FACTOR = (1.3, 1.5)
ZOOM_OUT_FACTOR = (1.2, 1.4)
HELD_FRAMES = (2, 5)

STRENGTHS = {"sigma": 2, "sigma_pixels": 2, "factor": 3}  # drawn parameters that say how strong, and their decimals

_GREY = np.tile(np.array([0.299, 0.587, 0.114], np.float32), (3, 1))  # the luma of Rec. 601, thrice


@dataclass(frozen=True)
class Perturbation:
    """One way to tamper with an interval of frames.

    `description` completes "During one part of this video ..." in the question. `draw_params(rng, length)` returns the JSON-ready
    parameters of an interval of `length` >= 2 frames; `apply(frames, params)` returns the tampered frames, uint8
    [T,H,W,3] like its input, which it leaves alone. `stride_ratio` is how densely stored frames are shown (outside, inside) the
    interval, and `needs_donor` tells that the frames inside come from another video: these two are what `slow`, `fast` and
    `swap` do, so their `apply` changes nothing.
    """

    name: str
    category: Literal["fine", "spatial", "temporal"]
    description: str
    draw_params: Callable[[np.random.Generator, int], dict[str, Any]]
    apply: Callable[[Frames, Params], Frames]
    stride_ratio: tuple[int, int] = (1, 1)
    needs_donor: bool = False


def scale_strength(params: Params, strength: float) -> dict[str, Any]:
    """Drawn parameters with their strength multiplied: the spread of noise or blur, how far a factor is from 1.

    What a perturbation without a strength draws (a mirror, an order) stays as it is.
    """
    changed = dict(params)
    for name in STRENGTHS.keys() & params.keys():
        neutral = 1 if name == "factor" else 0
        changed[name] = round(neutral + (params[name] - neutral) * strength, STRENGTHS[name])
    return changed


def _nothing(rng: np.random.Generator, length: int) -> dict[str, Any]:
    return {}


def _draw_fixed(name: str, value: float) -> Callable[[np.random.Generator, int], dict[str, Any]]:
    """No choice, but written down all the same: a stored sample must not change with a constant of this file."""
    return lambda rng, length: {name: value}


def _draw_noise(rng: np.random.Generator, length: int) -> dict[str, Any]:
    return {"sigma": round(float(rng.uniform(*NOISE_SIGMA)), 2), "seed": int(rng.integers(2**32))}


def _draw_zoom(bounds: tuple[float, float]) -> Callable[[np.random.Generator, int], dict[str, Any]]:
    return lambda rng, length: {"factor": round(float(rng.uniform(*bounds)), 3)}


def _draw_hold(rng: np.random.Generator, length: int) -> dict[str, Any]:
    held = int(rng.integers(HELD_FRAMES[0], HELD_FRAMES[1] + 1))
    order = [place - place % held for place in range(length)]
    if length > 1 and order[-1] == length - 1:
        # A run of one frame is no stutter: the last frame would be clean, and the interval end sooner than told.
        order[-1] = order[-2]
    return {"order": order}


def _draw_shuffle(rng: np.random.Generator, length: int) -> dict[str, Any]:
    order = list(range(length))
    # Both ends must move, or the visible interval would be shorter than the one asked for.
    while order[0] == 0 or order[-1] == length - 1:
        order = [int(place) for place in rng.permutation(length)]
    return {"order": order}


def _unchanged(frames: Frames, params: Params) -> Frames:
    return frames.copy()


def _grayscale(frames: Frames, params: Params) -> Frames:
    return _mixed(frames, _GREY)


def _saturation(frames: Frames, params: Params) -> Frames:
    return _mixed(frames, params["factor"] * np.eye(3, dtype=np.float32) + (1 - params["factor"]) * _GREY)


def _mixed(frames: Frames, matrix: NDArray[np.float32]) -> Frames:
    """Each pixel's channels times a 3x3 matrix, rounded and kept within 0..255."""
    return cv2.transform(_rows(frames), matrix).reshape(frames.shape)  # type: ignore[return-value]


def _noise(frames: Frames, params: Params) -> Frames:
    field = np.random.default_rng(params["seed"]).standard_normal(frames.shape, np.float32)
    field *= params["sigma"]
    field += frames
    np.rint(field, out=field)
    return np.clip(field, 0, 255, out=field).astype(np.uint8)


def _blur(frames: Frames, params: Params) -> Frames:
    return _each(frames, lambda frame: cv2.GaussianBlur(frame, (0, 0), params["sigma_pixels"]))


def _invert(frames: Frames, params: Params) -> Frames:
    return np.invert(frames)


def _channel_swap(frames: Frames, params: Params) -> Frames:
    return cv2.cvtColor(_rows(frames), cv2.COLOR_RGB2BGR).reshape(frames.shape)  # type: ignore[return-value]


def _zoom_in(frames: Frames, params: Params) -> Frames:
    height, width = frames.shape[1:3]
    inner_height, inner_width = max(1, round(height / params["factor"])), max(1, round(width / params["factor"]))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    cropped = frames[:, top : top + inner_height, left : left + inner_width]
    return _each(cropped, lambda frame: cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC), frames.shape)


def _zoom_out(frames: Frames, params: Params) -> Frames:
    height, width = frames.shape[1:3]
    small = (max(1, round(width / params["factor"])), max(1, round(height / params["factor"])))
    return _fitted(frames, small)


def _turn(quarters: int) -> Callable[[Frames, Params], Frames]:
    """Turn counter-clockwise by 1 or 3 quarters; what then has another shape is fitted into the old one, on black."""

    def apply(frames: Frames, params: Params) -> Frames:
        height, width = frames.shape[1:3]
        turned = np.ascontiguousarray(np.rot90(frames, quarters, axes=(1, 2)))
        if turned.shape == frames.shape:
            return turned
        scale = min(height / width, width / height)
        return _fitted(turned, (max(1, round(height * scale)), max(1, round(width * scale))), (height, width))

    return apply


def _fitted(frames: Frames, size: tuple[int, int], canvas: tuple[int, int] | None = None) -> Frames:
    """Shrink to `size` (width, height) and centre on a black `canvas` (height, width; the frames' own by default)."""
    height, width = canvas or frames.shape[1:3]
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out = np.zeros((len(frames), height, width, 3), np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return out


def _flip(axes: int) -> Callable[[Frames, Params], Frames]:
    """Mirror left and right (1), or both directions, which is half a turn (-1): OpenCV's codes."""
    return lambda frames, params: _each(frames, lambda frame: cv2.flip(frame, axes))


def _reorder(frames: Frames, params: Params) -> Frames:
    return frames[np.asarray(params["order"])]


def _each(frames: Frames, change: Callable[[Frames], Any], shape: tuple[int, ...] | None = None) -> Frames:
    out = np.empty(shape or frames.shape, np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[...] = change(frame)
    return out


def _rows(frames: Frames) -> Frames:
    """All frames as one tall picture [T*H,W,3]: one call for what treats every pixel alike."""
    return frames.reshape(-1, *frames.shape[2:])


_ROWS = (
    Perturbation(
        "saturation", "fine", "the colours are too strong", _draw_fixed("factor", SATURATION_FACTOR), _saturation
    ),
    Perturbation("noise", "fine", "the picture is noisy", _draw_noise, _noise),
    Perturbation("blur", "fine", "the picture is blurred", _draw_fixed("sigma_pixels", BLUR_SIGMA_PIXELS), _blur),
    Perturbation("grayscale", "fine", "the picture has no colour", _nothing, _grayscale),
    Perturbation("invert", "fine", "the colours are inverted", _nothing, _invert),
    Perturbation("channel_swap", "fine", "red and blue are exchanged", _nothing, _channel_swap),
    Perturbation("zoom_in", "spatial", "the picture is enlarged", _draw_zoom(ZOOM_IN_FACTOR), _zoom_in),
    Perturbation("zoom_out", "spatial", "the picture is shrunk", _draw_zoom(ZOOM_OUT_FACTOR), _zoom_out),
    Perturbation("rotate_180", "spatial", "the picture is upside down", _nothing, _flip(-1)),
    Perturbation("rotate_90", "spatial", "the picture is turned a quarter to the left", _nothing, _turn(1)),
    Perturbation("rotate_270", "spatial", "the picture is turned a quarter to the right", _nothing, _turn(3)),
    Perturbation("mirror", "spatial", "left and right are exchanged", _nothing, _flip(1)),
    Perturbation("slow", "temporal", "things move at half speed", _nothing, _unchanged, stride_ratio=(2, 1)),
    Perturbation("fast", "temporal", "things move at double speed", _nothing, _unchanged, stride_ratio=(1, 2)),
    Perturbation("stutter_hold", "temporal", "the picture freezes again and again", _draw_hold, _reorder),
    Perturbation("shuffle", "temporal", "the frames are in a wrong order", _draw_shuffle, _reorder),
    Perturbation("swap", "temporal", "another video is shown", _nothing, _unchanged, needs_donor=True),
)

PERTURBATIONS: dict[str, Perturbation] = {row.name: row for row in _ROWS}
