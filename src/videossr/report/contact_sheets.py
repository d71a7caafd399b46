"""Contact sheets: the frames of a sample, which of them are edited, its question, its answer, and the replies."""

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
from videossr.records import VIDEO_MARKER, FrameTimes, Sample, ScoredReply, kind_name, source_of

Frame = NDArray[np.uint8]

_FRAMES_PER_JIGSAW_CLIP = 3
_BORDER_PIXELS = 3


@dataclass(frozen=True)
class Thumbnail:
    """A small frame: pixels uint8 [H,W,3] RGB, its shown time in seconds, and whether it is edited."""

    frame: Frame
    seconds: float
    is_edited: bool

    @property
    def jpeg_uri(self) -> str:
        """The frame as a JPEG data URI."""
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(self.frame), quality=88, colorspace="RGB")
        return data_uri(jpeg, "image/jpeg")


@dataclass(frozen=True)
class Bar:
    """An interval on the timeline of a clip, in percent of it. `source` is `answer` or a row of VIUBench."""

    source: str
    left: float
    width: float


@dataclass(frozen=True)
class ContactSheet:
    """One drawn sample: thumbnails for each clip, intervals to compare, and the replies by row of VIUBench."""

    sample: Sample
    clips: tuple[tuple[Thumbnail, ...], ...]
    bars: tuple[Bar, ...]
    replies: Mapping[str, ScoredReply]

    @property
    def question_text(self) -> str:
        """The question without the lines of its video markers."""
        return question_text(self.sample)

    @property
    def clips_in_order(self) -> list[tuple[int, tuple[Thumbnail, ...]]]:
        """A solved jigsaw: (number of the clip as shown, its thumbnails), in the order of the video."""
        return [(int(digit), self.clips[int(digit) - 1]) for digit in self.sample.answer]


@dataclass(frozen=True)
class MissingSheet:
    """A variant that cannot be drawn with these parameters or videos, and the reason."""

    task: str
    variant: str
    reason: str


def draw_sheets(
    tasks: Mapping[str, PretextTask],
    bench: Sequence[Sample],
    videos: Sequence[FrameTimes],
    store: Mapping[str, Clip],
    scored: Mapping[str, Sequence[ScoredReply]],
    *,
    seed: int,
    frames_per_strip: int,
    thumbnail_pixels: int,
) -> list[ContactSheet | MissingSheet]:
    """One sample for each variant of each task, chosen at random by `seed`.

    It is a VIUBench question with its replies where there is one (`scored`: row of VIUBench -> replies); else the task
    generates a sample from `videos`, the stored benchmark videos.
    """
    replies = {name: {item.sample_id: item for item in items} for name, items in scored.items()}
    sheets: list[ContactSheet | MissingSheet] = []
    for name, task in tasks.items():
        for variant in task.variants:
            sample = _choose_sample(name, task, variant, bench, videos, seed)
            if isinstance(sample, MissingSheet):
                sheets.append(sample)
                continue
            of_sample = {row: items[sample.sample_id] for row, items in replies.items() if sample.sample_id in items}
            sheets.append(draw_sheet(task, sample, store, of_sample, frames_per_strip, thumbnail_pixels))
    return sheets


def draw_sheet(
    task: PretextTask,
    sample: Sample,
    store: Mapping[str, Clip],
    replies: Mapping[str, ScoredReply],
    frames_per_strip: int,
    thumbnail_pixels: int,
) -> ContactSheet:
    """Render one sample as thumbnails: at most `frames_per_strip` a clip, `thumbnail_pixels` on the longer side."""
    edited = edited_frames(sample)
    limit = frames_per_strip if sample.task != "jigsaw" else _FRAMES_PER_JIGSAW_CLIP
    clips = tuple(
        tuple(
            Thumbnail(_shrink(clip.frames[i], thumbnail_pixels), float(clip.times[i]), i in edited)
            for i in _choose_frames(len(clip), limit, edited if sample.task == "counting" else frozenset())
        )
        for clip in task.render(sample, store)
    )
    bars = _bars(sample, store[sample.video_id].times, replies) if sample.task == "grounding" else ()
    return ContactSheet(sample, clips, bars, replies)


def draw_strip(sheet: ContactSheet, border: tuple[int, int, int], gap: int = 4) -> Frame:
    """The whole sheet as one image uint8 [H,W,3] on white: edited frames with a border, a gap between clips."""
    pieces: list[Frame] = []
    width = _BORDER_PIXELS
    for clip in sheet.clips:
        for thumbnail in clip:
            colour = border if thumbnail.is_edited else (255, 255, 255)
            bordered = cv2.copyMakeBorder(
                thumbnail.frame, width, width, width, width, cv2.BORDER_CONSTANT, value=colour
            )
            pieces.append(np.asarray(bordered, np.uint8))
        pieces.append(np.full((pieces[-1].shape[0], gap if len(sheet.clips) > 1 else 1, 3), 255, np.uint8))
    return np.concatenate(pieces[:-1], axis=1)


def _choose_sample(
    name: str, task: PretextTask, variant: str, bench: Sequence[Sample], videos: Sequence[FrameTimes], seed: int
) -> Sample | MissingSheet:
    rng = np.random.default_rng(
        [seed, int.from_bytes(hashlib.sha256(kind_name(name, variant).encode()).digest()[:8], "big")]
    )
    questions = [sample for sample in bench if (sample.task, sample.variant) == (name, variant)]
    if questions:
        return questions[int(rng.integers(len(questions)))]
    try:
        fitting = [item for item in videos if task.fits(item, variant)]
    except ConfigError as error:
        return MissingSheet(name, variant, str(error))
    donors = [item.video_id for item in videos]
    if not fitting or len({source_of(donor) for donor in donors}) < 2:
        return MissingSheet(name, variant, "there are too few benchmark videos to generate a sample")
    return task.generate(fitting[int(rng.integers(len(fitting)))], variant, rng, donors)


def question_text(sample: Sample) -> str:
    """The question of a sample without the lines of its video markers."""
    return "\n".join(line for line in sample.question.splitlines() if VIDEO_MARKER not in line)


def edited_frames(sample: Sample) -> frozenset[int]:
    """Places of the shown frames that the edit changes; none where it changes their order alone."""
    if sample.task == "grounding":
        return frozenset(range(sample.edit["start"], sample.edit["start"] + sample.edit["length"]))
    if sample.task == "counting":
        return frozenset(shape["frame"] for shape in sample.edit["shapes"])
    return frozenset()


def _choose_frames(num_frames: int, limit: int, required: frozenset[int]) -> list[int]:
    """All `required` frames of a clip, and others evenly spaced, `limit` in all unless more are required."""
    if num_frames <= limit:
        return list(range(num_frames))
    others = [i for i in range(num_frames) if i not in required]
    num_others = min(len(others), max(0, limit - len(required)))
    evenly = np.linspace(0, len(others) - 1, num_others).round().astype(int)
    return sorted(required | {others[i] for i in evenly})


def _shrink(frame: Frame, pixels: int) -> Frame:
    height, width = frame.shape[:2]
    scale = pixels / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _bars(sample: Sample, times: NDArray[np.float64], replies: Mapping[str, ScoredReply]) -> tuple[Bar, ...]:
    bounds = frame_edges(times, sample.edit)
    start, duration = float(bounds[0]), float(bounds[-1] - bounds[0])
    texts = {"answer": sample.answer} | {row: replies[row].reply for row in ("before", "after") if row in replies}
    bars = []
    for source, text in texts.items():
        interval = rewards.parse_interval(text)
        if interval is None:
            continue
        left, right = (min(100.0, max(0.0, 100 * (second - start) / duration)) for second in interval)
        bars.append(Bar(source, round(left, 2), round(max(0.0, right - left), 2)))
    return tuple(bars)
