"""Sample sheets: what a puzzle shows, which frames were touched, what was asked, what is right, what was replied."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from videossr import rewards
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.pages import data_uri
from videossr.pretext import PretextTask
from videossr.pretext.grounding import frame_edges
from videossr.records import VIDEO_MARKER, FrameTimes, Sample, ScoredReply

Frame = NDArray[np.uint8]

_FRAMES_PER_PIECE = 3  # of each jigsaw clip


@dataclass(frozen=True)
class Cell:
    """One thumbnail: pixels uint8 [H,W,3] RGB, its shown time in seconds, and whether the edit touched it."""

    frame: Frame
    seconds: float
    edited: bool

    @property
    def data_uri(self) -> str:
        """The thumbnail as a JPEG that a page can hold."""
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(self.frame), quality=88, colorspace="RGB")
        return data_uri(jpeg, "image/jpeg")


@dataclass(frozen=True)
class Bar:
    """An interval on the clip's timeline: where it starts and how wide it is, in percent of the clip."""

    who: str
    left: float
    width: float


@dataclass(frozen=True)
class ContactSheet:
    """One drawn puzzle: a row of cells for each clip, the intervals to compare, and the stored replies by answerer."""

    sample: Sample
    clips: tuple[tuple[Cell, ...], ...]
    bars: tuple[Bar, ...]
    replies: Mapping[str, ScoredReply]

    @property
    def asked(self) -> str:
        """The question in words, without the places where the clips stand."""
        return "\n".join(line for line in self.sample.question.splitlines() if VIDEO_MARKER not in line)

    @property
    def in_order(self) -> list[tuple[int, tuple[Cell, ...]]]:
        """A jigsaw solved: (clip number as shown, its cells), in the order in which the video ran."""
        return [(int(digit), self.clips[int(digit) - 1]) for digit in self.sample.answer]


@dataclass(frozen=True)
class MissingSheet:
    """A variant that these parameters or these videos cannot show, and why."""

    task: str
    variant: str
    reason: str


def draw_sheets(
    tasks: Mapping[str, PretextTask],
    bench: Sequence[Sample],
    footage: Sequence[FrameTimes],
    store: Mapping[str, Clip],
    scored: Mapping[str, Sequence[ScoredReply]],
    *,
    seed: int,
    frames_per_strip: int,
    thumbnail_pixels: int,
) -> list[ContactSheet | MissingSheet]:
    """One puzzle for each variant of each task, chosen by lot and not for its looks.

    A VIUBench question is taken where there is one, with the replies it got (`scored`: answerer -> items); else the
    task draws one from `footage`, the benchmark's videos.
    """
    replies = {name: {item.sample_id: item for item in items} for name, items in scored.items()}
    sheets: list[ContactSheet | MissingSheet] = []
    for name, task in tasks.items():
        for variant in task.variants:
            sample = _chosen(name, task, variant, bench, footage, seed)
            if isinstance(sample, MissingSheet):
                sheets.append(sample)
                continue
            found = {who: items[sample.sample_id] for who, items in replies.items() if sample.sample_id in items}
            sheets.append(draw_sheet(task, sample, store, found, frames_per_strip, thumbnail_pixels))
    return sheets


def draw_sheet(
    task: PretextTask,
    sample: Sample,
    store: Mapping[str, Clip],
    replies: Mapping[str, ScoredReply],
    frames_per_strip: int,
    thumbnail_pixels: int,
) -> ContactSheet:
    """Render one sample and cut it down to thumbnails: at most `frames_per_strip`, the longer side at most so large."""
    touched = _touched(sample)
    limit = frames_per_strip if sample.task != "jigsaw" else _FRAMES_PER_PIECE
    clips = tuple(
        tuple(
            Cell(_thumbnail(clip.frames[place], thumbnail_pixels), float(clip.times[place]), place in touched)
            for place in _places(len(clip), limit, touched if sample.task == "counting" else frozenset())
        )
        for clip in task.render(sample, store)
    )
    bars = _bars(sample, store[sample.video_id].times, replies) if sample.task == "grounding" else ()
    return ContactSheet(sample, clips, bars, replies)


def strip(sheet: ContactSheet, border: tuple[int, int, int], gap: int = 4) -> Frame:
    """The whole sheet as one white-backed image uint8 [H,W,3]: touched frames bordered, clips set apart."""
    pieces: list[Frame] = []
    for clip in sheet.clips:
        for cell in clip:
            framed = cv2.copyMakeBorder(
                cell.frame, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=border if cell.edited else (255, 255, 255)
            )
            pieces.append(np.asarray(framed, np.uint8))
        pieces.append(np.full((pieces[-1].shape[0], gap if len(sheet.clips) > 1 else 1, 3), 255, np.uint8))
    return np.concatenate(pieces[:-1], axis=1)


def _chosen(
    name: str, task: PretextTask, variant: str, bench: Sequence[Sample], footage: Sequence[FrameTimes], seed: int
) -> Sample | MissingSheet:
    rng = np.random.default_rng(
        [seed, int.from_bytes(hashlib.sha256(f"{name}/{variant}".encode()).digest()[:8], "big")]
    )
    asked = [sample for sample in bench if (sample.task, sample.variant) == (name, variant)]
    if asked:
        return asked[int(rng.integers(len(asked)))]
    try:
        fitting = [item for item in footage if task.fits(item, variant)]
    except ConfigError as error:
        return MissingSheet(name, variant, str(error))
    donors = [item.video_id for item in footage]
    if not fitting or len(donors) < 2:
        return MissingSheet(name, variant, "too few benchmark videos to draw it from")
    return task.generate(fitting[int(rng.integers(len(fitting)))], variant, rng, donors)


def _touched(sample: Sample) -> frozenset[int]:
    if sample.task == "grounding":
        return frozenset(range(sample.edit["start"], sample.edit["start"] + sample.edit["length"]))
    if sample.task == "counting":
        return frozenset(shape["frame"] for shape in sample.edit["shapes"])
    return frozenset()


def _places(num_frames: int, limit: int, wanted: frozenset[int]) -> list[int]:
    """At most `limit` places of a clip, evenly spread; all `wanted` ones are among them, also where they are more."""
    if num_frames <= limit:
        return list(range(num_frames))
    others = [place for place in range(num_frames) if place not in wanted]
    room = min(len(others), max(0, limit - len(wanted)))
    spread = np.linspace(0, len(others) - 1, room).round().astype(int)
    return sorted(wanted | {others[i] for i in spread})


def _thumbnail(frame: Frame, pixels: int) -> Frame:
    height, width = frame.shape[:2]
    scale = pixels / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _bars(sample: Sample, times: NDArray[np.float64], replies: Mapping[str, ScoredReply]) -> tuple[Bar, ...]:
    bounds = frame_edges(times, sample.edit)
    start, duration = float(bounds[0]), float(bounds[-1] - bounds[0])
    said = {"answer": sample.answer} | {who: replies[who].reply for who in ("before", "after") if who in replies}
    bars = []
    for who, text in said.items():
        interval = rewards.parse_interval(text)
        if interval is None:
            continue
        left, right = (min(100.0, max(0.0, 100 * (second - start) / duration)) for second in interval)
        bars.append(Bar(who, round(left, 2), round(max(0.0, right - left), 2)))
    return tuple(bars)
