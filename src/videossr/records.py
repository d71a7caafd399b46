"""What travels between stages: frozen, JSON-ready records without pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "bench"]
VIDEO_MARKER = "<video>"  # where a clip stands in the text of a question
# Reasons of a refusal that are of the moment, not of the file: it is tried again by the next run.
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
    """One file that cannot be used, and why: a row of the quarantine."""

    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class FrameTimes:
    """What puzzle generation may know of a stored video: its name and its clock, never its pixels.

    `times` are the presentation times in seconds of every stored frame, strictly increasing.
    """

    video_id: str
    times: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """A puzzle: which edit is done to which frames of which video, what is asked, what is right.

    `edit` is plain JSON data and complete: rendering needs the sample and the frame store, nothing else.
    `question` is the whole user turn with one `<video>` marker for each clip that `render` returns.
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
        """Task and variant, such as `grounding/mirror`."""
        return f"{self.task}/{self.variant}"


@dataclass(frozen=True)
class ScoredReply:
    """One question put to one policy: the reply as it came, whether it parsed, and its score in 0..1."""

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
        """Task and variant, such as `grounding/mirror`."""
        return f"{self.task}/{self.variant}"
