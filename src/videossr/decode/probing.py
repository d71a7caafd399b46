"""Probe a video file: its codec and size, and the time of every frame that is shown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels, Times
from videossr.decode.container import NO_KEY, check_duration, choose_stream, open_video
from videossr.decode.encryption import is_scrambled
from videossr.decode.frame_index import FrameIndex
from videossr.decode.full_decode import decode_whole_frames, index_by_decoding
from videossr.decode.orientation import Orientation, displayed_size, read_orientation, to_grey, to_upright_rgb
from videossr.decode.packet_index import index_packets
from videossr.errors import DecodeError

THUMBNAIL_SIZE = 16, 17  # 16x16 differences between horizontal neighbours
_REASONS_OF_SCRAMBLED_FILES = ("corrupt", "no_video_stream", "not_a_video", "unsupported")
T = TypeVar("T")


class SeekingFailed(DecodeError):
    """The packets of a file do not lead to the frames that they promise: only a full decode can index it."""


@dataclass(frozen=True)
class VideoInfo:
    """What the file shows: the largest of its video streams that has enough frames, checked by decoding one frame.

    `times` are the presentation times of all frames in seconds, the first at 0, and `index` has them in ticks. `width`
    and `height` are pixels as displayed. `orientation` brings stored pictures upright. `thumbnail` is the first whole
    frame in grey, uint8 [16, 17].
    """

    codec: str
    container: str
    stream_index: int
    width: int
    height: int
    fps: float
    duration_seconds: float
    orientation: Orientation
    thumbnail: Pixels = field(repr=False, compare=False)
    times: Times = field(repr=False)
    index: FrameIndex = field(repr=False)

    @property
    def keyframes(self) -> FrameNumbers:
        """Numbers of the frames that can be decoded on their own, increasing."""
        return self.index.keyframes


def presentation_times(path: Path) -> Times:
    """Return the presentation time of each frame in seconds: float64 [N], increasing, the first at 0.

    Edit lists are applied. Raises DecodeError.
    """
    return probe_video(path).times


def probe_video(path: Path, min_frames: int = 2, by_decoding: bool = False) -> VideoInfo:
    """Index the frames of `path` and decode one frame. Raises DecodeError with a reason of `REASONS`.

    The index is that of the packets where they prove it (`index_packets`), else that of a full decode.
    """
    try:
        return _probe(path, min_frames, by_decoding)
    except DecodeError as error:
        if error.reason in _REASONS_OF_SCRAMBLED_FILES and is_scrambled(path):
            raise DecodeError("encrypted", NO_KEY) from None
        raise


def _probe(path: Path, min_frames: int, by_decoding: bool) -> VideoInfo:
    stream_index = choose_stream(path, min_frames)
    if not by_decoding:
        with open_video(path, stream_index) as (container, stream):
            index = index_packets(container, stream)
        try:
            if index is not None:
                return _describe(path, stream_index, index)
        except SeekingFailed:
            pass
    with open_video(path, stream_index) as (container, stream):
        index = index_by_decoding(container, stream)
    return _describe(path, stream_index, index)


def _describe(path: Path, stream_index: int, index: FrameIndex) -> VideoInfo:
    with open_video(path, stream_index) as (container, stream):
        return _describe_stream(container, stream, index)


def _describe_stream(container: InputContainer, stream: VideoStream, index: FrameIndex) -> VideoInfo:
    if len(index.ticks) == 0 or stream.time_base is None:
        raise DecodeError("corrupt", "the video stream has no frames")
    first = next(decode_whole_frames(container, stream, index), None)
    if first is None:
        raise DecodeError("corrupt", "no frame can be decoded without damage")
    if index.whole is None and first.pts != index.ticks[0]:
        raise SeekingFailed("corrupt", "the decoder shows another frame first than the packets say")
    orientation = read_orientation(first)
    width, height = displayed_size(stream, first, orientation)
    times = (index.ticks - index.ticks[0]).astype(np.float64) * float(stream.time_base)
    check_duration(float(times[-1]))
    fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0)
    return VideoInfo(
        codec=stream.codec_context.codec.canonical_name,
        container=container.format.name,
        stream_index=stream.index,
        width=width,
        height=height,
        fps=fps,
        duration_seconds=len(times) / fps if fps else 0.0,
        orientation=orientation,
        thumbnail=to_grey(to_upright_rgb(first, THUMBNAIL_SIZE, orientation)),
        times=times,
        index=index,
    )


def probe_and_read(
    path: Path,
    read: Callable[[VideoInfo], T],
    min_frames: int = 2,
    probe: Callable[[Path, int, bool], VideoInfo] = probe_video,
) -> T:
    """Return `read(info)` for the probed file; `read` is called again where seeking by its packets fails.

    The second call has the index of a full decode, which may hold other frames and times than the first.
    """
    try:
        return read(probe(path, min_frames, False))
    except SeekingFailed:
        return read(probe(path, min_frames, True))
