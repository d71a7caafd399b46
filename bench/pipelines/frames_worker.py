"""What a process of the frames stage does; apart, so that it imports no more than such a process."""

from collections.abc import Sequence

from videossr.frames.encoding import encode_video
from videossr.frames.sampling import FramesParams
from videossr.records import Video


def encode(videos: Sequence[Video], params: FramesParams) -> None:
    for video in videos:
        encode_video(video, params)
