"""The frames of a page of items: small pictures of what a policy was shown, with their presentation times."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from videossr.clip import Clip, Pixels
from videossr.evaluation.benchmarks import PROTOCOLS, FoundVideos, Item
from videossr.evaluation.benchmarks.local_copy import find_benchmark_videos
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.evaluation.downstream.frames import FrameBudget
from videossr.evaluation.downstream.questions import Questions
from videossr.storage.atomic import write_bytes

_QUALITY = 85
_COLUMNS = 8
_FEWEST_PER_VIDEO = 3


@dataclass(frozen=True)
class FrameStrip:
    """Frames of a clip as one JPEG, row by row in `columns` of `width` x `height` pixels each.

    `seconds` are their presentation times, `edited` the places among them of the edited ones; `num_shown` is the number
    of frames of the clip, of which these were chosen.
    """

    jpeg: bytes
    width: int
    height: int
    columns: int
    seconds: tuple[float, ...]
    num_shown: int
    edited: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of its picture in the folder of frames, which depends on the picture alone."""
        return f"{hashlib.sha256(self.jpeg).hexdigest()[:16]}.jpg"

    def write(self, frames: Path) -> None:
        """Write its picture to the folder `frames`."""
        write_bytes(frames / self.name, self.jpeg)

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.name,
            "width": self.width,
            "height": self.height,
            "columns": self.columns,
            "seconds": list(self.seconds),
            "shown": self.num_shown,
            "edited": list(self.edited),
        }


def draw_strips(
    asked: Iterable[tuple[int, Evaluation, Item]],
    videos: Path,
    frame_store: Path,
    *,
    frames: int,
    width: int,
    progress: bool = True,
) -> tuple[dict[int, tuple[FrameStrip, ...]], dict[int, str]]:
    """The frames that a policy was shown, by the number that stands before each (evaluation, item), and what failed.

    The videos of a benchmark are in `videos`/KEY. The frames of the run's own VIUBench are in `frame_store`. `frames`
    is the number for an item, divided among its videos, each `width` pixels wide.
    """
    strips: dict[int, tuple[FrameStrip, ...]] = {}
    failed: dict[int, str] = {}
    questions: dict[Path, Questions] = {}
    for number, evaluation, item in tqdm(list(asked), desc="frames", unit="item", disable=not progress):
        if not {"samples", "frames"} & evaluation.header.keys():
            failed[number] = f"{evaluation.path} does not name the frames that were shown"
            continue
        if evaluation.path not in questions:
            questions[evaluation.path] = _questions(evaluation, videos, frame_store)
        known = questions[evaluation.path]
        if item.id in known.videos.items_missing:
            failed[number] = f"a video is not in {videos / evaluation.key}"
            continue
        prompts, errors = known.prepare((item,))
        if errors:
            failed[number] = errors[item.id]
            continue
        clips = prompts[0][1].clips
        per_clip = max(_FEWEST_PER_VIDEO, frames // len(clips))
        strips[number] = tuple(make_strip(clip, per_clip, width) for clip in clips)
    return strips, failed


def make_strip(clip: Clip, frames: int, width: int, edited: Collection[int] = ()) -> FrameStrip:
    """At most `frames` frames of a clip, evenly chosen with the first and the last, at most `width` pixels wide.

    `edited` are the frames of the clip that an edit changed.
    """
    places = np.unique(np.linspace(0, len(clip.times) - 1, min(frames, len(clip.times))).round().astype(int))
    small = [_shrink(clip.frames[place], width) for place in places]
    return FrameStrip(
        jpeg=_tile(small),
        width=small[0].shape[1],
        height=small[0].shape[0],
        columns=min(_COLUMNS, len(small)),
        seconds=tuple(clip.times[places].round(3).tolist()),
        num_shown=len(clip.times),
        edited=tuple(number for number, place in enumerate(places.tolist()) if place in edited),
    )


def _shrink(frame: Pixels, width: int) -> Pixels:
    if width >= frame.shape[1]:
        return frame
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _tile(frames: Sequence[Pixels]) -> bytes:
    """The frames in rows of `_COLUMNS` as one JPEG; places that are left over are black."""
    columns = min(_COLUMNS, len(frames))
    height, width, channels = frames[0].shape
    rows = -(-len(frames) // columns)
    tiles = np.zeros((rows * columns, height, width, channels), np.uint8)
    tiles[: len(frames)] = frames
    picture = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2).reshape(rows * height, -1, channels)
    jpeg = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=_QUALITY, colorspace="RGB", colorsubsampling="444"
    )
    return bytes(jpeg)


def _questions(evaluation: Evaluation, videos: Path, frame_store: Path) -> Questions:
    header = evaluation.header
    if "samples" in header:  # the run's own VIUBench: stored frames, no protocol
        present: Mapping[str, Path] = {ref.path: frame_store for item in evaluation.items for ref in item.videos}
        found = FoundVideos(present, (), frozenset(), len(evaluation.items))
        return Questions(evaluation.items, found, PROTOCOLS[0], FrameBudget())
    found = find_benchmark_videos(evaluation.items, videos / evaluation.key)
    return Questions(evaluation.items, found, header["protocol"], FrameBudget(**header["frames"]))
