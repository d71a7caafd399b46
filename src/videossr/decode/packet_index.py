"""Index the frames of a file by demuxing alone, where its packets prove that this gives what a full decode shows.

Packets are trusted in MP4 and Matroska, and for codecs whose decoder tells a true keyframe from others. Each further
rule is about files that break it: docs/videos.md lists them.
"""

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from videossr.clip import Ticks
from videossr.decode.bitstreams import H264Header, is_h264_b_frame, is_never_shown, read_h264_header
from videossr.decode.container import MAX_FRAMES, iter_packets
from videossr.decode.frame_index import FrameIndex
from videossr.errors import DecodeError

_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_REORDERING_CODECS = ("h264", "hevc")
_CODECS = (*_REORDERING_CODECS, "vp8", "vp9", "av1")


def index_packets(container: InputContainer, stream: VideoStream) -> FrameIndex | None:
    """The index of the frames from packets alone; None where only a full decode can tell.

    Raises DecodeError for more than `MAX_FRAMES` frames.
    """
    context = stream.codec_context
    name = context.codec.canonical_name
    header = read_h264_header(context.extradata or b"") if name == "h264" else None
    if not _is_trusted_kind(container, stream, header):
        return None
    pts: list[int] = []
    is_key: list[bool] = []
    clock = _PacketClock()
    is_rising, has_b_frames = True, name == "hevc" and context.has_b_frames
    for packet in iter_packets(container, stream):
        if packet.size == 0:
            continue
        if not clock.accepts(packet):
            return None
        if packet.is_discard or is_never_shown(name, memoryview(packet)):
            continue
        assert packet.pts is not None
        is_rising = is_rising and (not pts or packet.pts > pts[-1])
        if header and is_rising and not has_b_frames and not header.keeps_order:
            has_b_frames = is_h264_b_frame(memoryview(packet), header.length_bytes)
        pts.append(packet.pts)
        is_key.append(packet.is_keyframe)
        if len(pts) > MAX_FRAMES:
            raise DecodeError("too_long", f"more than {MAX_FRAMES} frames")
    # Times in decoding order where the codec shows frames in another order, or the reverse.
    if has_b_frames if is_rising else name not in _REORDERING_CODECS:
        return None
    return _build_index(np.array(pts, np.int64), np.array(is_key, bool))


def _is_trusted_kind(container: InputContainer, stream: VideoStream, header: H264Header | None) -> bool:
    codec = stream.codec_context.codec
    if container.format.name not in _CONTAINERS or not (codec.canonical_name in _CODECS or codec.intra_only):
        return False
    if codec.canonical_name == "h264" and (header is None or header.has_fields):
        return False  # two packets may be one frame
    # Matroska keeps the tag of a codec for tracks in the manner of Video for Windows alone, which has no frame times.
    return container.format.name != "matroska,webm" or _codec_tag(stream) == "\0\0\0\0"


def _codec_tag(stream: VideoStream) -> str:
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:  # it need not be ASCII
        return "other"


class _PacketClock:
    """Tells, packet after packet, whether the decoder shows one frame for each at its time.

    The decoder alone knows what it shows before the first keyframe. All that is decoded before a keyframe is shown
    before what is decoded from it on, unless a clock restarts. A palette comes with the first packet only.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._last_before_key: int | None = None

    def accepts(self, packet: "Packet[VideoStream]") -> bool:
        if packet.pts is None or packet.is_corrupt or packet.has_sidedata("palette"):
            return False
        if packet.is_keyframe:
            self._last_before_key = packet.pts - 1 if self._last is None else self._last
        if self._last_before_key is None:
            return False
        self._last = packet.pts if self._last is None else max(packet.pts, self._last)
        return packet.is_discard or packet.pts > self._last_before_key


def _build_index(pts: Ticks, is_key: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> FrameIndex | None:
    order = np.argsort(pts)
    ticks = pts[order]
    if np.any(np.diff(ticks) == 0):
        return None  # one packet of two at the same time is not shown, or later
    last_key = np.maximum.accumulate(np.where(is_key, pts, np.iinfo(np.int64).min))
    return FrameIndex(ticks, np.flatnonzero(is_key[order]), has_leading_frames=bool(np.any(pts < last_key)))
