"""The work of a worker process of the frames stage, in a module of its own that imports nothing else."""

from collections.abc import Sequence

from videossr.frames.encoding import encode_video
from videossr.frames.sampling import FramesParams
from videossr.records import Video


def encode_all(videos: Sequence[Video], params: FramesParams) -> None:
    for video in videos:
        encode_video(video, params)
