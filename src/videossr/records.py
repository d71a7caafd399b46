"""The records that stages pass to each other: frozen, JSON-ready, without pixels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "bench"]
VIDEO_MARKER = "<video>"  # the position of a clip in the text of a question
# Reasons that may no longer apply at the next run, which tries such a file again.
TRANSIENT_REASONS = ("changed_while_read", "crashed", "out_of_memory", "timeout", "unreadable")
_WINDOW_ID = re.compile(r"([0-9a-f]{16})-(\d+)-(\d+)")


def window_id(source_id: str, start_ms: int, end_ms: int) -> str:
    """The video id of a window: the id of the source video it is cut from, its start and its end in milliseconds."""
    return f"{source_id}-{start_ms}-{end_ms}"


def source_of(video_id: str) -> str:
    """The id of the source video that a window is cut from; of a whole video, its own id.

    Windows of one source show one scene, so they are not independent: they share a split and a cluster.
    """
    window = _WINDOW_ID.fullmatch(video_id)
    return window[1] if window else video_id


@dataclass(frozen=True)
class Video:
    """One usable video of the source, as ingest found it: a file, or a window of one (`ingest.window_seconds`).

    `video_id` is the first 16 hex digits of the SHA-256 of the file's bytes, for a window followed by its bounds
    (`window_id`); `width` and `height` are pixels as displayed (rotation and pixel aspect applied); `path` is as the
    source names it. `duration_seconds` and `num_frames` are those of the window.
    """

    video_id: str
    path: str
    codec: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    num_frames: int
    split: Split

    @property
    def window_seconds(self) -> tuple[float, float] | None:
        """Start and end in the file, in seconds; None where the video is the whole file."""
        window = _WINDOW_ID.fullmatch(self.video_id)
        return (int(window[2]) / 1000, int(window[3]) / 1000) if window else None

    @property
    def name(self) -> str:
        """Its path; for a window with a media fragment, such as `clip.mp4#t=10,20` (seconds)."""
        window = self.window_seconds
        return self.path if window is None else f"{self.path}#t={window[0]:g},{window[1]:g}"


@dataclass(frozen=True)
class RejectedFile:
    """A file that cannot be used, and why: a row of the quarantine.

    `path` is the `name` of the video where only a window is rejected. `reason` is one of `videossr.decode.REASONS`;
    `detail` says more, or is empty.
    """

    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class FrameTimes:
    """A stored video without its pixels: the only input to the generation of samples.

    `times` are the presentation times of all stored frames in seconds, strictly increasing.
    """

    video_id: str
    times: tuple[float, ...]


def kind_name(task: str, variant: str) -> str:
    """A task and one of its variants, such as `grounding/mirror`."""
    return f"{task}/{variant}"


@dataclass(frozen=True)
class Sample:
    """One question about a video: the edit of its frames, the text, and the right answer.

    `edit` is JSON data and complete: rendering needs the sample and the frame store, nothing else. `question` is the
    whole user turn, with one `<video>` marker for each clip that `render` returns.
    """

    sample_id: str
    task: str
    variant: str
    video_id: str
    edit: Mapping[str, Any]
    question: str
    answer: str

    @property
    def kind(self) -> str:
        """Its task and variant as one name (`kind_name`)."""
        return kind_name(self.task, self.variant)


@dataclass(frozen=True)
class ScoredReply:
    """A policy's reply to one sample: its text, whether it parsed, and its score in 0..1."""

    sample_id: str
    task: str
    variant: str
    video_id: str
    answer: str
    reply: str
    parsed: bool
    score: float

    @property
    def kind(self) -> str:
        """Its task and variant as one name (`kind_name`)."""
        return kind_name(self.task, self.variant)
