"""The records that stages pass to each other: frozen, JSON-ready, without pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "bench"]
VIDEO_MARKER = "<video>"  # the position of a clip in the text of a question
# Reasons that may no longer apply at the next run, which tries such a file again.
TRANSIENT_REASONS = ("changed_while_read", "crashed", "out_of_memory", "timeout", "unreadable")


@dataclass(frozen=True)
class Video:
    """One usable video of the source, as ingest found it.

    `video_id` is the first 16 hex digits of the SHA-256 of the file's bytes; `width` and `height` are pixels as
    displayed (rotation and pixel aspect applied); `path` is as the source names it.
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


@dataclass(frozen=True)
class RejectedFile:
    """A file that cannot be used, and why: a row of the quarantine.

    `reason` is one of `videossr.decode.REASONS`; `detail` says more, or is empty.
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
