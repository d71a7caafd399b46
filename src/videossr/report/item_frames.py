"""The frames of the item browser: small pictures of what a policy was shown, with their presentation times."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from videossr.clip import Clip, Pixels
from videossr.evaluation.benchmarks import PROTOCOLS, FoundVideos, Item, find_videos
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.evaluation.downstream.frames import FrameBudget
from videossr.evaluation.downstream.questions import Questions
from videossr.storage.atomic import write_bytes

_QUALITY = 80
_FEWEST_PER_VIDEO = 3


@dataclass(frozen=True)
class FrameStrip:
    """Evenly chosen frames of a clip: a JPEG and the presentation time in seconds of each, and how many were shown."""

    jpegs: tuple[bytes, ...]
    seconds: tuple[float, ...]
    num_shown: int

    @property
    def folder(self) -> str:
        """Where its pictures lie below the folder of frames: a name that depends on them alone."""
        return hashlib.sha256(b"".join(self.jpegs)).hexdigest()[:16]

    def write(self, frames: Path) -> None:
        """Write its pictures below the folder `frames`."""
        for place, jpeg in enumerate(self.jpegs):
            write_bytes(frames / self.folder / f"{place:02}.jpg", jpeg)

    def as_json(self) -> dict[str, Any]:
        return {"folder": self.folder, "seconds": list(self.seconds), "shown": self.num_shown}


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


def make_strip(clip: Clip, frames: int, width: int) -> FrameStrip:
    """At most `frames` frames of a clip, evenly chosen with the first and the last, `width` pixels wide."""
    places = np.unique(np.linspace(0, len(clip.times) - 1, min(frames, len(clip.times))).round().astype(int))
    jpegs = tuple(_jpeg(clip.frames[place], width) for place in places)
    return FrameStrip(jpegs, tuple(clip.times[places].round(3).tolist()), len(clip.times))


def _jpeg(frame: Pixels, width: int) -> bytes:
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) if width < frame.shape[1] else frame
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=_QUALITY, colorspace="RGB"))


def _questions(evaluation: Evaluation, videos: Path, frame_store: Path) -> Questions:
    header = evaluation.header
    if "samples" in header:  # the run's own VIUBench: stored frames, no protocol
        present: Mapping[str, Path] = {ref.path: frame_store for item in evaluation.items for ref in item.videos}
        found = FoundVideos(present, (), frozenset(), len(evaluation.items))
        return Questions(evaluation.items, found, PROTOCOLS[0], FrameBudget())
    found = find_videos(evaluation.items, videos / evaluation.key)
    return Questions(evaluation.items, found, header["protocol"], FrameBudget(**header["frames"]))
