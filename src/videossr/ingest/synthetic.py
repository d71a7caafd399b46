"""Make the videos of the embedded default: H.264 files of small landscapes on which every task has an answer.

Colours, textures, speeds and layout differ from video to video. These conventions hold in every video, so that an edit
is visible:
- a light blue sky above a darker, warm ground shows rotation, swapped channels and negatives;
- light from the left, ground that falls to the right, and objects that move to the right show mirroring;
- the sun sinks, the light fades, vines grow, leaves fall and the camera pans right: this shows the order of
  clips.
No object is a plain filled circle, square or triangle: Object Counting draws those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation
from tqdm import tqdm

from videossr.errors import ConfigError
from videossr.parallel import Workers, parallel_map
from videossr.storage.atomic import atomic_folder

Image = npt.NDArray[np.float32]  # [H, W, 3 or 4], colours 0..255, the fourth channel an opacity 0..1

_CONVERSION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_SKIES = ((176, 208, 250), (160, 196, 244), (186, 200, 246), (150, 214, 240))
_GROUNDS = ((176, 128, 62), (150, 98, 58), (142, 132, 50), (188, 106, 66), (120, 116, 44), (168, 142, 92))


@dataclass(frozen=True)
class SyntheticParams:
    """How many videos are made, how long and how large. `ingest.seed` decides what they show.

    `camera_noise` is the standard deviation, in grey levels, of noise that is new in every pixel of every frame.
    """

    num_videos: int = 200
    min_seconds: float = 5.0
    max_seconds: float = 8.0
    size_pixels: int = 96
    fps: int = 12
    camera_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.num_videos < 1:
            raise ConfigError(f"num_videos must be at least 1, got {self.num_videos}")
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ConfigError(
                f"0 < min_seconds <= max_seconds must hold, got {self.min_seconds} and {self.max_seconds}"
            )
        if self.size_pixels < 32 or self.size_pixels % 2:
            raise ConfigError(f"size_pixels must be even (H.264 halves colour) and at least 32, got {self.size_pixels}")
        if self.fps < 1:
            raise ConfigError(f"fps must be at least 1, got {self.fps}")
        if not 0 <= self.camera_noise <= 64:
            raise ConfigError(f"camera_noise must be 0 to 64 grey levels, got {self.camera_noise}")


def make_videos(params: SyntheticParams, seed: int, out: Path, workers: Workers) -> list[Path]:
    """Write `params.num_videos` H.264 files into the folder `out`, which is replaced; returns their paths.

    A video depends on `params`, `seed` and its number alone, not on `workers`.
    """
    names = [f"made-{number:05d}.mp4" for number in range(params.num_videos)]
    with atomic_folder(out) as temporary:
        jobs = [(number, temporary / name) for number, name in enumerate(names)]
        results = parallel_map(partial(_make_video, params=params, seed=seed), jobs, workers)
        for _ in tqdm(results, total=len(jobs), desc="videos", unit="video"):
            pass
    return [out / name for name in names]


def _make_video(job: tuple[int, Path], params: SyntheticParams, seed: int) -> None:
    number, path = job
    write_video(path, draw_video(params, seed, number), params.fps)


def draw_video(params: SyntheticParams, seed: int, number: int) -> npt.NDArray[np.uint8]:
    """The frames of video `number`, uint8 [T, S, S, 3] RGB."""
    rng = np.random.default_rng([seed, number])
    num_frames = round(rng.uniform(params.min_seconds, params.max_seconds) * params.fps)
    scene = _Scene.sample(rng, params.size_pixels)
    frames = np.stack([scene.draw_frame(progress) for progress in np.linspace(0, 1, num_frames)])
    if params.camera_noise:
        frames = np.stack([_add_noise(frame, params.camera_noise, rng) for frame in frames])
    return frames


def _add_noise(frame: npt.NDArray[np.uint8], deviation: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    noise = rng.normal(0, deviation, frame.shape)
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def write_video(path: Path, frames: npt.NDArray[np.uint8], fps: int) -> None:
    """Write frames, uint8 [T, S, S, 3] RGB, as an H.264 file; the same frames give the same bytes."""
    # Without lookahead: on small pictures, x264's lookahead gives other bytes from run to run.
    x264_params = (
        "qp=20:keyint=48:min-keyint=48:scenecut=0:bframes=2:b-adapt=0:rc-lookahead=0:mbtree=0:aq-mode=0:weightp=0"
    )
    options = {"preset": "veryfast", "threads": "1", "x264-params": x264_params}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", interpolation=_CONVERSION, threads=1)))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class _MovingObject:
    """A textured blob that moves to the right and bobs. Positions and distances are fractions of the frame."""

    sprite: Image
    start: tuple[float, float]
    travel: float
    bob: float
    hops: float
    spin_degrees: float

    def pose(self, progress: float) -> tuple[float, float, float]:
        """(x, y, angle in degrees) at `progress` 0..1 of the video. Hops lose height, as under gravity."""
        hop = abs(np.sin(np.pi * self.hops * progress)) * (1 - 0.8 * progress)
        x = self.start[0] + self.travel * progress
        return x, self.start[1] - self.bob * hop, self.spin_degrees * progress


@dataclass(frozen=True)
class _Scene:
    """The layers and objects of one video, and how they move. Positions are fractions of the frame."""

    size: int  # pixels
    sky: Image
    hills: Image
    ground: Image
    objects: tuple[_MovingObject, ...]
    leaves: npt.NDArray[np.float64]  # [N, 5]: x, y, fall, drift, shade
    vines: npt.NDArray[np.float64]  # [N, 4]: x, sway, final height, phase
    vine_colour: tuple[float, ...]
    sun: tuple[float, float, float]  # x, first y, how far it sinks
    pan: float  # how far the camera moves right
    zoom: float  # by how much of its size the picture grows
    slope: float  # of the land, downwards to the right
    slant: float  # how much lighter the left edge is than the right one
    fade: float  # how much light is gone at the end

    @classmethod
    def sample(cls, rng: np.random.Generator, size: int) -> "_Scene":
        leaves = rng.uniform([0, -1.0, 0.8, 0.1, 0.5], [1, 0.9, 1.6, 0.5, 1.3], (14, 5))
        vines = rng.uniform([0.05, 0.01, 0.25, 0], [0.95, 0.04, 0.5, 6.3], (int(rng.integers(1, 4)), 4))
        return cls(
            size=size,
            sky=_draw_sky(rng, size),
            hills=_draw_land(rng, size, horizon=rng.uniform(0.42, 0.5), relief=0.1, shade=0.72),
            ground=_draw_land(rng, size, horizon=rng.uniform(0.56, 0.66), relief=0.05, shade=1.0),
            objects=tuple(_sample_object(rng, size) for _ in range(int(rng.integers(3, 6)))),
            leaves=leaves,
            vines=vines,
            vine_colour=tuple(rng.uniform((40, 110, 30), (90, 170, 60))),
            sun=(rng.uniform(0.12, 0.34), rng.uniform(0.06, 0.16), rng.uniform(0.2, 0.34)),
            pan=rng.uniform(0.4, 1.1),
            zoom=rng.uniform(-0.12, 0.2),
            slope=rng.uniform(0.1, 0.24),
            slant=rng.uniform(0.3, 0.55),
            fade=rng.uniform(0.28, 0.45),
        )

    def draw_frame(self, progress: float) -> npt.NDArray[np.uint8]:
        """uint8 [S, S, 3] RGB at `progress` 0..1 of the video."""
        picture = self._project(self.sky, progress, depth=0.3, slope=0.0)
        _add_glow(picture, self.sun[0], self.sun[1] + self.sun[2] * progress)
        for layer, depth in ((self.hills, 0.55), (self.ground, 1.0)):
            _blend(picture, self._project(layer, progress, depth, self.slope))
        self._draw_vines(picture, progress)
        for moving in self.objects:
            _draw_sprite(picture, moving.sprite, *moving.pose(progress))
        self._draw_leaves(picture, progress)
        across = np.linspace(1 + self.slant / 2, 1 - self.slant / 2, self.size, dtype=np.float32)
        dusk = np.array([1.0, 0.97, 0.95], np.float32) ** progress * (1 - self.fade * progress)
        return np.clip(picture * across[None, :, None] * dusk, 0, 255).astype(np.uint8)

    def _project(self, layer: Image, progress: float, depth: float, slope: float) -> Image:
        """The part of a layer that the camera sees. A near layer (large `depth`) moves faster."""
        scale = 1 / (1 + self.zoom * depth * progress)
        x = (0.05 + self.pan * depth * progress) * self.size
        middle = self.size / 2
        matrix = np.array(
            [[scale, 0, x + middle * (1 - scale)], [-slope * scale, scale, middle * (1 - scale + slope * scale)]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(layer, matrix, (self.size, self.size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        )

    def _draw_vines(self, picture: Image, progress: float) -> None:
        steps = np.linspace(0, 1, 12)
        for x, sway, height, phase in self.vines:
            # 0.85 of the camera's pan: the vines stand on the ground, a little behind its front.
            across = (x + 0.35 - 0.85 * self.pan * progress) % 1.2 + sway * np.sin(9 * steps + phase) - 0.1
            up = 0.82 - height * (0.15 + 0.85 * progress) * steps
            points = np.round(np.stack([across, up], 1) * self.size * 16).astype(np.int32)
            width = max(1, self.size // 40)
            cv2.polylines(picture, [points], False, self.vine_colour, width, cv2.LINE_AA, shift=4)

    def _draw_leaves(self, picture: Image, progress: float) -> None:
        for x, y, fall, drift, shade in self.leaves:
            tip = np.array([(x + drift * progress) % 1.0, y + fall * progress]) * self.size
            end = tip + self.size * np.array([0.03, 0.012 * np.sin(40 * (progress + x))])
            colour = (230 * shade, 120 * shade, 40 * shade)
            cv2.line(
                picture,
                _to_fixed_point(tip),
                _to_fixed_point(end),
                colour,
                max(1, self.size // 48),
                cv2.LINE_AA,
                shift=4,
            )


def _to_fixed_point(point: Sequence[float] | npt.NDArray[np.float64]) -> tuple[int, int]:
    """A point in the sixteenths of a pixel that OpenCV draws with `shift=4`."""
    return round(float(point[0]) * 16), round(float(point[1]) * 16)


def _noise(rng: np.random.Generator, height: int, width: int, cells: Sequence[int]) -> Image:
    """Smooth noise [H, W, 1] with mean 0 and a spread near 1; an octave has `cells[i]` cells over the height."""
    total = np.zeros((height, width), np.float32)
    for octave, count in enumerate(cells):
        coarse = rng.standard_normal((count, count * width // height)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 0.8**octave
    return total[..., None]


def _draw_sky(rng: np.random.Generator, size: int) -> Image:
    """A blue sky with clouds, wider than the frame; [S, 2 S, 3]."""
    colour = np.array(_SKIES[rng.integers(len(_SKIES))], np.float32) + rng.uniform(-12, 6, 3)
    down = np.linspace(1.0, rng.uniform(0.62, 0.75), size, dtype=np.float32)[:, None, None]
    clouds = np.clip(_noise(rng, size, 2 * size, (3, 6, 12)), 0, 2) * rng.uniform(12, 32)
    return np.asarray(np.clip(colour * down + clouds, 0, 255), dtype=np.float32)


def _draw_land(rng: np.random.Generator, size: int, horizon: float, relief: float, shade: float) -> Image:
    """A warm, textured stretch of land, larger than the frame, transparent above its skyline; [1.4 S, 2 S, 4]."""
    height = size * 7 // 5
    colour = np.array(_GROUNDS[rng.integers(len(_GROUNDS))], np.float32) + rng.uniform(-14, 14)
    x = np.linspace(0, 2, 2 * size)
    waves = sum(np.sin(x * rng.uniform(3, 12) + rng.uniform(0, 6.3)) for _ in range(3)) / 3
    skyline = (horizon + relief * waves) * size
    depth = (np.arange(height)[:, None] - skyline).astype(np.float32)[..., None]
    texture = _noise(rng, height, 2 * size, (8, 20, 42)) * rng.uniform(0.1, 0.2)
    furrows = np.sin(depth * rng.uniform(0.3, 0.9) + x[:, None] * rng.uniform(-9, 9)) * rng.uniform(0.02, 0.12)
    light = shade * (1.1 - 0.5 * np.clip(depth / size, 0, 1)) * (1 + texture + furrows)
    return np.concatenate([np.clip(colour * light, 0, 255), np.clip(depth, 0, 1)], axis=2).astype(np.float32)


def _sample_object(rng: np.random.Generator, size: int) -> _MovingObject:
    flying = rng.random() < 0.5
    return _MovingObject(
        sprite=_sample_sprite(rng, round(size * rng.uniform(0.18, 0.34))),
        start=(rng.uniform(-0.4, 0.5), rng.uniform(0.12, 0.42) if flying else rng.uniform(0.6, 0.85)),
        travel=rng.uniform(0.35, 1.2),
        bob=rng.uniform(0.02, 0.08) if flying else rng.uniform(0.1, 0.3),
        hops=rng.uniform(1, 2) if flying else rng.uniform(2, 4),
        spin_degrees=0.0 if flying else rng.uniform(-200, -60),
    )


def _sample_sprite(rng: np.random.Generator, size: int) -> Image:
    """A lobed, striped, rimmed blob, lit from the left; [S, S, 4]."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    lobes = int(rng.integers(2, 6))
    edge = 0.66 + 0.22 * np.cos(lobes * angle + rng.uniform(0, 6.3)) + 0.08 * np.cos((lobes + 2) * angle)
    inside = np.clip((edge - radius) * size / 3, 0, 1)
    turn = rng.uniform(0, np.pi)
    stripes = np.sin((x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(5, 11)) > 0
    one, other = rng.uniform(20, 255, (2, 3))
    colour = np.where(stripes[..., None], one, other)
    colour = np.where((edge - radius < 0.14)[..., None], rng.uniform(0, 60, 3), colour)
    return np.dstack([np.clip(colour * (1.05 - 0.3 * x[..., None]), 0, 255), inside]).astype(np.float32)


def _draw_sprite(picture: Image, sprite: Image, x: float, y: float, angle_degrees: float) -> None:
    """Draw the rotated sprite with its centre at fractions (x, y) of the picture."""
    size, middle, reach = len(picture), (len(sprite) - 1) / 2, round(0.75 * len(sprite))
    (x0, x1), (y0, y1) = (
        (max(0, round(centre * size) - reach), min(size, round(centre * size) + reach)) for centre in (x, y)
    )
    if x0 >= x1 or y0 >= y1:
        return
    matrix = np.array(cv2.getRotationMatrix2D((middle, middle), angle_degrees, 1.0), np.float64)
    matrix[:, 2] += (x * size - middle - x0, y * size - middle - y0)
    _blend(
        picture[y0:y1, x0:x1], np.asarray(cv2.warpAffine(sprite, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR))
    )


def _blend(picture: Image, layer: Image) -> None:
    """Draw `layer` over `picture` with its opacity, in place."""
    picture += (layer[..., :3] - picture) * layer[..., 3:]


def _add_glow(picture: Image, x: float, y: float) -> None:
    """Draw a sun without an edge, in place."""
    steps = np.arange(len(picture)) / len(picture)
    glow = np.exp(-((steps[:, None] - y) ** 2 + (steps[None, :] - x) ** 2) / 0.012)
    picture += (glow[..., None] * np.array([110, 90, 10])).astype(np.float32)
