"""What a process of the frames stage does; apart, so that it imports no more than such a process."""

from collections.abc import Sequence
from pathlib import Path

from videossr.frames import FramesParams, write_store
from videossr.records import Video


def store(videos: Sequence[Video], root: Path, params: FramesParams) -> None:
    write_store(videos, root, params, workers=0)
