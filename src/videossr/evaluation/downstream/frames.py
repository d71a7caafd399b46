"""Which frames of a question's videos are shown, and at which size.

The rule is that of the paper's evaluation (qwen_vl_utils): frames at a fixed rate, an even number within a limit,
evenly spaced from the first frame to the last. The times are the true presentation times, in seconds of the whole
video also where a part of it is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from videossr.clip import Clip, FrameNumbers, Pixels, Times
from videossr.decode import VideoInfo, decode, probe_and_read
from videossr.errors import ConfigError, DecodeError
from videossr.evaluation.benchmarks.items import Item, VideoRef
from videossr.frames.sampling import SIZE_FACTOR, choose_frames, fitted_size

_MIN_FRAMES = 4  # of a video that is shorter than 2 s at 2 frames a second; as in qwen_vl_utils
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
_EDGE_SECONDS = 1e-6  # a bound such as 17.1 s includes the frame at 17.1


@dataclass(frozen=True)
class FrameBudget:
    """Frames at `fps`, at most `num_frames` a video, each of `min_pixels` to `max_pixels` with its aspect ratio.

    With `shared`, the videos of a question share `num_frames` in equal parts.
    """

    num_frames: int = 64
    fps: float = 2.0
    max_pixels: int = 512 * 512
    min_pixels: int = 128 * 128
    shared: bool = False

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ConfigError(f"frames must be at least 2, got {self.num_frames}")
        if not self.fps > 0:
            raise ConfigError(f"fps must be above 0, got {self.fps}")
        if not SIZE_FACTOR**2 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"{SIZE_FACTOR**2} <= min_pixels <= max_pixels must hold, got {self.min_pixels} and {self.max_pixels}"
            )


def load_clips(item: Item, paths: Sequence[Path], budget: FrameBudget) -> tuple[Clip, ...]:
    """The frames of an item's videos, one clip for each of `paths`, with their presentation times.

    Raises DecodeError where a video cannot be read, or has no frame within the bounds of the item.
    """
    limit = max(2, budget.num_frames // len(paths)) if budget.shared else budget.num_frames
    read = {
        (ref, path): (_read_folder if ref.is_frame_folder else _read_file)(ref, path, limit, budget)
        for ref, path in zip(item.videos, paths, strict=True)
    }
    return tuple(read[key] for key in zip(item.videos, paths, strict=True))


def choose_times(times: Times, ref: VideoRef, limit: int, fps: float) -> FrameNumbers:
    """The numbers of the frames to show, int [T], of a video whose frames are at `times`, float64 [N] seconds.

    Raises DecodeError where no frame is within the bounds of `ref`.
    """
    start = -np.inf if ref.start_seconds is None else ref.start_seconds
    end = np.inf if ref.end_seconds is None else ref.end_seconds
    shown = np.flatnonzero((times >= start - _EDGE_SECONDS) & (times <= end + _EDGE_SECONDS))
    if len(shown) == 0:
        raise DecodeError("too_short", f"no frame between {start:g} and {end:g} s, the last one is at {times[-1]:g} s")
    wanted = _num_frames(times[shown], limit, fps)
    if wanted == len(shown):
        return shown
    chosen = choose_frames(times[shown], wanted, (0.0, 1.0))
    assert chosen is not None  # `wanted` is at most the number of frames
    return shown[chosen]


def _num_frames(times: Times, limit: int, fps: float) -> int:
    """An even number: a model merges two frames into one patch in time."""
    available = len(times)
    if available < 2:
        return available
    seconds = (times[-1] - times[0]) * available / (available - 1)
    wanted = min(max(_MIN_FRAMES, int(seconds * fps + _EDGE_SECONDS)), limit, available)
    return max(2, wanted - wanted % 2)


def _read_file(ref: VideoRef, path: Path, limit: int, budget: FrameBudget) -> Clip:
    def read(info: VideoInfo) -> Clip:
        whole = info.times if info.index.whole is None else info.times[info.index.whole]
        times = whole[choose_times(whole, ref, limit, budget.fps)]
        size = fitted_size(info.height, info.width, budget.min_pixels, budget.max_pixels)
        return decode(path, times, size=size, info=info)

    return probe_and_read(path, read)


def _read_folder(ref: VideoRef, folder: Path, limit: int, budget: FrameBudget) -> Clip:
    """The first picture of a folder is at 0 s; a number that is left out is a frame that is not there."""
    assert ref.frames_per_second is not None
    files = {int(file.stem): file for file in folder.iterdir() if _is_frame(file)}
    if not files:
        raise DecodeError("no_video_stream", f"{folder.name} has no numbered pictures such as 00001.jpg")
    numbers = np.array(sorted(files))
    times = (numbers - numbers[0]) / ref.frames_per_second
    chosen = choose_times(times, ref, limit, budget.fps)
    pictures = [_read_picture(files[number]) for number in numbers[chosen].tolist()]
    height, width = pictures[0].shape[:2]
    size = fitted_size(height, width, budget.min_pixels, budget.max_pixels)
    return Clip(np.stack([_scaled(picture, size) for picture in pictures]), times[chosen])


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in _IMAGE_ENDINGS and file.stem.isdecimal()


def _read_picture(file: Path) -> Pixels:
    picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) if file.stat().st_size else None
    if picture is None:
        raise DecodeError("corrupt", f"the picture {file.name} cannot be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _scaled(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture, uint8 [H, W, 3], scaled to `size` (height, width)."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=method), np.uint8)
