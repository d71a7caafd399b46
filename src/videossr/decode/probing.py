"""Probe a video file: its codec and size, and every presentation time by demuxing alone."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels, Ticks, Times
from videossr.decode.container import MAX_SECONDS, check_duration, iter_frames, iter_packets, open_video
from videossr.decode.orientation import Orientation, displayed_size, read_orientation, to_grey, to_upright_rgb
from videossr.errors import DecodeError

MAX_FRAMES = round(MAX_SECONDS * 120)
THUMBNAIL_SIZE = 16, 17  # 16x16 differences between horizontal neighbours
INDEXED_BY_DECODING = ("avi",)  # AVI packets carry the decoding order only: decode the frames to number them


@dataclass(frozen=True)
class PacketIndex:
    """Sorted presentation times, in ticks of the stream, of all frames (`pts`) and of the keyframes (`key_pts`).

    `has_leading_frames` says whether a frame is shown before the keyframe that precedes it in the file (open GOP).
    """

    pts: Ticks
    key_pts: Ticks
    has_leading_frames: bool


@dataclass(frozen=True)
class VideoInfo:
    """What the container states about its largest video stream, checked by decoding one frame.

    `times` are the presentation times of all frames in seconds, the first at 0, and `packet_index` has them in ticks.
    `width` and `height` are pixels as displayed. `orientation` brings stored pictures upright. `thumbnail` is the first
    frame in grey, uint8 [16, 17].
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
    packet_index: PacketIndex = field(repr=False)

    @property
    def keyframes(self) -> FrameNumbers:
        """Numbers of the frames that can be decoded on their own, increasing."""
        return np.flatnonzero(np.isin(self.packet_index.pts, self.packet_index.key_pts))


def presentation_times(path: Path) -> Times:
    """Return the presentation time of each frame in seconds: float64 [N], sorted, the first at 0.

    Edit lists are applied. Raises DecodeError.
    """
    return probe_video(path).times


def probe_video(path: Path) -> VideoInfo:
    """Index the packets of `path` and decode one frame. Raises DecodeError with a reason of `REASONS`."""
    with open_video(path) as (container, stream):
        container_name = container.format.name
        build_index = _index_by_decoding if container_name in INDEXED_BY_DECODING else _index_by_demuxing
        packet_index = build_index(container, stream)
        time_base = stream.time_base
    if len(packet_index.pts) == 0 or time_base is None:
        raise DecodeError("corrupt", "the video stream has no frames")
    with open_video(path) as (container, stream):
        first = next(iter_frames(container, stream), None)
        if first is None:
            raise DecodeError("corrupt", "no frame can be decoded")
        orientation = read_orientation(first)
        width, height = displayed_size(stream, first, orientation)
        times = (packet_index.pts - packet_index.pts[0]).astype(np.float64) * float(time_base)
        check_duration(float(times[-1]))
        fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0)
        return VideoInfo(
            codec=stream.codec_context.codec.canonical_name,
            container=container_name,
            width=width,
            height=height,
            fps=fps,
            duration_seconds=len(times) / fps if fps else 0.0,
            orientation=orientation,
            thumbnail=to_grey(to_upright_rgb(first, THUMBNAIL_SIZE, orientation)),
            times=times,
            packet_index=packet_index,
        )


def _index_by_demuxing(container: InputContainer, stream: VideoStream) -> PacketIndex:
    pts: list[int] = []
    key_pts: list[int] = []
    has_leading_frames = False
    for packet in iter_packets(container, stream):
        if packet.size == 0 or packet.is_discard or packet.pts is None or _is_never_shown(packet):
            continue
        pts.append(packet.pts)
        if len(pts) > MAX_FRAMES:
            raise DecodeError("too_long", f"more than {MAX_FRAMES} frames")
        if packet.is_keyframe:
            key_pts.append(packet.pts)
        has_leading_frames |= bool(key_pts) and packet.pts < key_pts[-1]
    return PacketIndex(np.unique(np.array(pts, np.int64)), np.unique(np.array(key_pts, np.int64)), has_leading_frames)


def _is_never_shown(packet: "Packet[VideoStream]") -> bool:
    """VP8 stores alternate reference frames, which are never shown, in their own packets (RFC 6386, section 9.1)."""
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _index_by_decoding(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Decode the whole file and count its frames; times follow from the stated frame rate."""
    num_frames = sum(1 for _ in iter_frames(container, stream))
    rate = stream.average_rate
    if not rate or not stream.time_base:
        raise DecodeError("corrupt", "the container states no frame rate")
    ticks = float(1 / rate / stream.time_base)
    pts = np.round(np.arange(num_frames) * ticks).astype(np.int64)
    return PacketIndex(pts, np.zeros(1, np.int64), has_leading_frames=False)
