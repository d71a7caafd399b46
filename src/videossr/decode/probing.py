"""What a container says of its video: every presentation time, by demuxing alone."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels, Ticks, Times
from videossr.decode.container import MAX_SECONDS, frames_in_order, opened, packets, refuse_too_long
from videossr.decode.orientation import Orientation, displayed_size, read_orientation, to_grey, to_upright
from videossr.errors import DecodeError

MAX_FRAMES = round(MAX_SECONDS * 120)
THUMBNAIL_SIZE = 16, 17  # of which 16x16 differences between neighbours remain
INDEX_BY_DECODING = ("avi",)  # its packets carry decoding order only: frames are numbered as they come out


@dataclass(frozen=True)
class Index:
    """Sorted presentation times in ticks, of all frames and of keyframes.

    `leading` where a frame is shown before the keyframe that precedes it in the file (open GOPs).
    """

    pts: Ticks
    key_pts: Ticks
    leading: bool


@dataclass(frozen=True)
class Probe:
    """What a container says of its largest video stream, checked by decoding one frame.

    `times` are the presentation times in seconds of all frames, the first at 0; `width` and `height` are pixels as
    displayed; `orientation` is how the stored pictures are brought upright; `thumbnail` is the first picture, grey,
    uint8 [16, 17]. `index` is the same clock in ticks of the stream.
    """

    codec: str
    container: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    orientation: Orientation
    thumbnail: Pixels = field(repr=False, compare=False)
    times: Times = field(repr=False)
    index: Index = field(repr=False)

    @property
    def keyframes(self) -> FrameNumbers:
        """FrameNumbers of the frames that can be decoded on their own, rising."""
        return np.flatnonzero(np.isin(self.index.pts, self.index.key_pts))


def presentation_times(path: Path) -> Times:
    """Seconds at which each frame is shown, float64 [N], sorted, the first at 0; edit lists are respected.

    Raises DecodeError.
    """
    return probe(path).times


def probe(path: Path) -> Probe:
    """Index the packets of `path` and decode one frame. Raises DecodeError with a reason of `REASONS`."""
    with opened(path) as (container, stream):
        name = container.format.name
        read_index = _index_by_decoding if name in INDEX_BY_DECODING else _index
        index = read_index(container, stream)
        time_base = stream.time_base
    if len(index.pts) == 0 or time_base is None:
        raise DecodeError("corrupt", "the video stream holds no frames")
    with opened(path) as (container, stream):
        first = next(frames_in_order(container, stream), None)
        if first is None:
            raise DecodeError("corrupt", "no frame can be decoded")
        how = read_orientation(first)
        width, height = displayed_size(stream, first, how)
        times = (index.pts - index.pts[0]).astype(np.float64) * float(time_base)
        refuse_too_long(float(times[-1]))
        fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0)
        return Probe(
            codec=stream.codec_context.codec.canonical_name,
            container=name,
            width=width,
            height=height,
            fps=fps,
            duration_seconds=len(times) / fps if fps else 0.0,
            orientation=how,
            thumbnail=to_grey(to_upright(first, THUMBNAIL_SIZE, how)),
            times=times,
            index=index,
        )


def _index(container: InputContainer, stream: VideoStream) -> Index:
    """All presentation times and those of the keyframes, by demuxing alone."""
    pts: list[int] = []
    key_pts: list[int] = []
    leading = False
    for packet in packets(container, stream):
        if packet.size == 0 or packet.is_discard or packet.pts is None or _is_hidden(packet):
            continue
        pts.append(packet.pts)
        if len(pts) > MAX_FRAMES:
            raise DecodeError("too_long", f"more than {MAX_FRAMES} frames")
        if packet.is_keyframe:
            key_pts.append(packet.pts)
        leading |= bool(key_pts) and packet.pts < key_pts[-1]
    return Index(np.unique(np.array(pts, np.int64)), np.unique(np.array(key_pts, np.int64)), leading)


def _is_hidden(packet: "Packet[VideoStream]") -> bool:
    """VP8 keeps alternate references, which are never shown, in packets of their own (RFC 6386, section 9.1)."""
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _index_by_decoding(container: InputContainer, stream: VideoStream) -> Index:
    """One decoding of the whole file: times are counted in frames of the stated rate."""
    count = sum(1 for _ in frames_in_order(container, stream))
    rate = stream.average_rate
    if not rate or not stream.time_base:
        raise DecodeError("corrupt", "the container states no frame rate")
    ticks = float(1 / rate / stream.time_base)
    return Index(np.round(np.arange(count) * ticks).astype(np.int64), np.zeros(1, np.int64), leading=False)
