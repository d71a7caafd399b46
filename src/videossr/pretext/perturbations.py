"""The seventeen perturbations of anomaly grounding, as one table (paper, section 3.2 and appendix).

The parameters of a perturbation are drawn once for the whole interval and stored in the sample as JSON data; `apply`
follows them and draws nothing. Strengths that are lengths (the blur radius) are pixels of the stored frame, which is
what the model sees: the size of the source video does not change how hard a sample is.

Differs: the published code draws noise and zoom again for each frame, and its quarter turns change the frame's size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from videossr.clip import Pixels

Params = Mapping[str, Any]
DrawParams = Callable[[np.random.Generator, int], dict[str, Any]]
Apply = Callable[[Pixels, Params], Pixels]

SATURATION_FACTOR = 2.0
BLUR_SIGMA_PIXELS = 2.0
NOISE_SIGMA = (35.0, 70.0)
ZOOM_IN_FACTOR = (1.3, 1.5)
ZOOM_OUT_FACTOR = (1.2, 1.4)
HOLD_FRAMES = (2, 5)

STRENGTH_DECIMALS = {"sigma": 2, "sigma_pixels": 2, "factor": 3}  # the parameters that are strengths, their rounding

_LUMA = np.tile(np.array([0.299, 0.587, 0.114], np.float32), (3, 1))  # Rec. 601, one row for each output channel


@dataclass(frozen=True)
class Perturbation:
    """One kind of edit of an interval of frames.

    - `description` completes "During one part of this video ..." in the question.
    - `draw_params(rng, length)` returns the JSON-ready parameters for an interval of `length` >= 2 frames.
    - `apply(frames, params)` returns the tampered frames, uint8 [T,H,W,3] like its input, which it does not change.
    - `stride_ratio` is the ratio of the strides through the stored frames (outside, inside the interval).
    - `needs_donor` means that the frames inside come from another video.

    `slow`, `fast` and `swap` act through `stride_ratio` and `needs_donor` alone: their `apply` only copies.
    """

    name: str
    category: Literal["fine", "spatial", "temporal"]
    description: str
    draw_params: DrawParams
    apply: Apply
    stride_ratio: tuple[int, int] = (1, 1)
    needs_donor: bool = False


def scale_strength(params: Params, strength: float) -> dict[str, Any]:
    """Drawn parameters with their strength multiplied: the sigma of noise or blur, the distance of a factor from 1.

    Parameters that are not strengths (an order, a seed) stay as they are.
    """
    scaled = dict(params)
    for name in STRENGTH_DECIMALS.keys() & params.keys():
        neutral = 1 if name == "factor" else 0
        scaled[name] = round(neutral + (params[name] - neutral) * strength, STRENGTH_DECIMALS[name])
    return scaled


def _no_params(rng: np.random.Generator, length: int) -> dict[str, Any]:
    return {}


def _fixed_param(name: str, value: float) -> DrawParams:
    """Draws nothing, but stores the value: a stored sample must not change when a constant of this file changes."""
    return lambda rng, length: {name: value}


def _draw_noise(rng: np.random.Generator, length: int) -> dict[str, Any]:
    return {"sigma": round(float(rng.uniform(*NOISE_SIGMA)), 2), "seed": int(rng.integers(2**32))}


def _draw_zoom(bounds: tuple[float, float]) -> DrawParams:
    return lambda rng, length: {"factor": round(float(rng.uniform(*bounds)), 3)}


def _draw_hold(rng: np.random.Generator, length: int) -> dict[str, Any]:
    hold = int(rng.integers(HOLD_FRAMES[0], HOLD_FRAMES[1] + 1))
    order = [frame - frame % hold for frame in range(length)]
    if length > 1 and order[-1] == length - 1:
        # Otherwise the last frame starts a new run and is shown only once, unchanged: the visible interval would end
        # one frame before the answer.
        order[-1] = order[-2]
    return {"order": order}


def _draw_shuffle(rng: np.random.Generator, length: int) -> dict[str, Any]:
    order = list(range(length))
    # Both ends must move, or the visible interval would be shorter than the answer.
    while order[0] == 0 or order[-1] == length - 1:
        order = [int(frame) for frame in rng.permutation(length)]
    return {"order": order}


def _copy(frames: Pixels, params: Params) -> Pixels:
    return frames.copy()


def _grayscale(frames: Pixels, params: Params) -> Pixels:
    return _mix_channels(frames, _LUMA)


def _saturate(frames: Pixels, params: Params) -> Pixels:
    return _mix_channels(frames, params["factor"] * np.eye(3, dtype=np.float32) + (1 - params["factor"]) * _LUMA)


def _mix_channels(frames: Pixels, matrix: NDArray[np.float32]) -> Pixels:
    """Multiply each pixel's channels by a 3x3 matrix, round, and clip to 0..255."""
    return cv2.transform(_as_one_image(frames), matrix).reshape(frames.shape)  # type: ignore[return-value]


def _add_noise(frames: Pixels, params: Params) -> Pixels:
    noisy = np.random.default_rng(params["seed"]).standard_normal(frames.shape, np.float32)
    noisy *= params["sigma"]
    noisy += frames
    np.rint(noisy, out=noisy)
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


def _blur(frames: Pixels, params: Params) -> Pixels:
    return _map_frames(frames, lambda frame: cv2.GaussianBlur(frame, (0, 0), params["sigma_pixels"]))


def _invert(frames: Pixels, params: Params) -> Pixels:
    return np.invert(frames)


def _swap_channels(frames: Pixels, params: Params) -> Pixels:
    image = cv2.cvtColor(_as_one_image(frames), cv2.COLOR_RGB2BGR)
    return image.reshape(frames.shape)  # type: ignore[return-value]


def _zoom_in(frames: Pixels, params: Params) -> Pixels:
    height, width = frames.shape[1:3]
    inner_height, inner_width = max(1, round(height / params["factor"])), max(1, round(width / params["factor"]))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = frames[:, top : top + inner_height, left : left + inner_width]
    return _map_frames(
        inner, lambda frame: cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC), frames.shape
    )


def _zoom_out(frames: Pixels, params: Params) -> Pixels:
    height, width = frames.shape[1:3]
    size = (max(1, round(width / params["factor"])), max(1, round(height / params["factor"])))
    return _shrink_onto_black(frames, size, (height, width))


def _rotate(quarters: int) -> Apply:
    """Rotate counter-clockwise by 1 or 3 quarter turns; frames that are not square are shrunk to fit, on black."""

    def apply(frames: Pixels, params: Params) -> Pixels:
        height, width = frames.shape[1:3]
        rotated = np.ascontiguousarray(np.rot90(frames, quarters, axes=(1, 2)))
        if rotated.shape == frames.shape:
            return rotated
        scale = min(height / width, width / height)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return _shrink_onto_black(rotated, size, (height, width))

    return apply


def _shrink_onto_black(frames: Pixels, size: tuple[int, int], canvas: tuple[int, int]) -> Pixels:
    """Shrink frames to `size` (width, height) and centre them on a black `canvas` (height, width)."""
    height, width = canvas
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out = np.zeros((len(frames), height, width, 3), np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[top : top + size[1], left : left + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return out


def _flip(axis_code: int) -> Apply:
    """Exchange left and right (1), or flip both axes, which is half a turn (-1): the codes of cv2.flip."""
    return lambda frames, params: _map_frames(frames, lambda frame: cv2.flip(frame, axis_code))


def _reorder(frames: Pixels, params: Params) -> Pixels:
    return frames[np.asarray(params["order"])]


def _map_frames(frames: Pixels, change: Callable[[Pixels], Any], shape: tuple[int, ...] | None = None) -> Pixels:
    """Apply `change` to every frame; the result has `shape`, by default that of `frames`."""
    out = np.empty(shape or frames.shape, np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[...] = change(frame)
    return out


def _as_one_image(frames: Pixels) -> Pixels:
    """All frames as one tall image [T*H,W,3]: one OpenCV call for an operation on single pixels."""
    return frames.reshape(-1, *frames.shape[2:])


_SATURATION = _fixed_param("factor", SATURATION_FACTOR)
_BLUR_RADIUS = _fixed_param("sigma_pixels", BLUR_SIGMA_PIXELS)
_TABLE = (
    Perturbation("saturation", "fine", "the colours are too strong", _SATURATION, _saturate),
    Perturbation("noise", "fine", "the picture is noisy", _draw_noise, _add_noise),
    Perturbation("blur", "fine", "the picture is blurred", _BLUR_RADIUS, _blur),
    Perturbation("grayscale", "fine", "the picture has no colour", _no_params, _grayscale),
    Perturbation("invert", "fine", "the colours are inverted", _no_params, _invert),
    Perturbation("channel_swap", "fine", "red and blue are exchanged", _no_params, _swap_channels),
    Perturbation("zoom_in", "spatial", "the picture is enlarged", _draw_zoom(ZOOM_IN_FACTOR), _zoom_in),
    Perturbation("zoom_out", "spatial", "the picture is shrunk", _draw_zoom(ZOOM_OUT_FACTOR), _zoom_out),
    Perturbation("rotate_180", "spatial", "the picture is upside down", _no_params, _flip(-1)),
    Perturbation("rotate_90", "spatial", "the picture is turned a quarter to the left", _no_params, _rotate(1)),
    Perturbation("rotate_270", "spatial", "the picture is turned a quarter to the right", _no_params, _rotate(3)),
    Perturbation("mirror", "spatial", "left and right are exchanged", _no_params, _flip(1)),
    Perturbation("slow", "temporal", "things move at half speed", _no_params, _copy, stride_ratio=(2, 1)),
    Perturbation("fast", "temporal", "things move at double speed", _no_params, _copy, stride_ratio=(1, 2)),
    Perturbation("stutter_hold", "temporal", "the picture freezes again and again", _draw_hold, _reorder),
    Perturbation("shuffle", "temporal", "the frames are in a wrong order", _draw_shuffle, _reorder),
    Perturbation("swap", "temporal", "another video is shown", _no_params, _copy, needs_donor=True),
)

PERTURBATIONS: dict[str, Perturbation] = {perturbation.name: perturbation for perturbation in _TABLE}
