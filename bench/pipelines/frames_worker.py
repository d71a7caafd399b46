"""The work of a worker process of the frames stage. In a module of its own, so that it imports no more than that."""

from collections.abc import Sequence

from videossr.frames.encoding import encode_video
from videossr.frames.sampling import FramesParams
from videossr.records import Video


def encode_all(videos: Sequence[Video], params: FramesParams) -> None:
    for video in videos:
        encode_video(video, params)
