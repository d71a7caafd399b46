"""Decode a file from its first packet to its last: the index that is always right, and which frames are whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from videossr.decode.clock import best_effort_ticks, max_step_ticks, rising_ticks
from videossr.decode.container import MAX_FRAMES, iter_packets
from videossr.decode.frame_index import FrameIndex
from videossr.errors import DecodeError

# Containers whose clock restarts where recordings are joined.
_BROADCAST_CONTAINERS = ("mpegts", "mpeg", "flv")


@dataclass
class PacketDamage:
    """What a full decode finds out about packets: which are damaged, by number, and whether the first is a keyframe.

    `last_error` is what the decoder said of the last packet that it could not decode.
    """

    damaged: set[int] = field(default_factory=set)
    starts_with_keyframe: bool = True
    last_error: Exception | None = None


def decode_in_order(
    container: InputContainer, stream: VideoStream, damage: PacketDamage
) -> Iterator[tuple[int | None, VideoFrame]]:
    """Yield every frame that the decoder shows, with the number of its packet (None if the decoder loses it).

    Packets that cannot be decoded are added to `damage`, and decoding goes on. Frames of damaged packets are yielded
    where the decoder shows them.
    """
    stream.codec_context.copy_opaque = True
    for number, packet in enumerate(iter_packets(container, stream)):
        packet.opaque = number
        if number == 0:
            damage.starts_with_keyframe = packet.is_keyframe
        if packet.is_corrupt:  # a parser may attach the flag of one packet to the packet before it
            damage.damaged |= {number, number + 1}
        try:
            frames = packet.decode()
        except (av.error.MemoryError, av.error.PatchWelcomeError):  # the second: often a damaged header of the stream
            raise
        except av.error.FFmpegError as error:  # decoders name damage in many ways
            damage.damaged.add(number)
            damage.last_error = error
            continue
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            yield frame.opaque if isinstance(frame.opaque, int) else None, frame


def decode_whole_frames(container: InputContainer, stream: VideoStream, index: FrameIndex) -> Iterator[VideoFrame]:
    """Yield the frames of a full decode that are whole; without a list of these, those that are not corrupt."""
    for number, (_, frame) in enumerate(decode_in_order(container, stream, PacketDamage())):
        if not frame.is_corrupt if index.whole is None else index.whole[number]:
            yield frame


def index_by_decoding(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """The index of the frames that a full decode shows, in the order in which it shows them, at best-effort times.

    Raises DecodeError for more than `MAX_FRAMES` frames, and the decoder's own error where no frame can be decoded.
    """
    damage = PacketDamage()
    pts: list[int | None] = []
    dts: list[int | None] = []
    packets: list[int | None] = []
    is_key: list[bool] = []
    for packet, frame in decode_in_order(container, stream, damage):
        if frame.is_corrupt and packet is not None:
            damage.damaged.add(packet)
        packets.append(packet)
        pts.append(frame.pts)
        dts.append(frame.dts)
        is_key.append(frame.key_frame and frame.pict_type in (PictureType.NONE, PictureType.I))
        if len(pts) > MAX_FRAMES:
            raise DecodeError("too_long", f"more than {MAX_FRAMES} frames")
    if not pts and damage.last_error:
        raise damage.last_error
    # AVI stores the order of decoding only: what seem to be presentation times are guesses of the demuxer.
    times = dts if container.format.name == "avi" else best_effort_ticks(pts, dts)
    is_broadcast = container.format.name in _BROADCAST_CONTAINERS
    max_step = max_step_ticks(float(stream.time_base or 1)) if is_broadcast else float("inf")
    ticks = rising_ticks(times, _frame_ticks(times, stream), max_step)
    whole = find_whole_frames(packets, is_key, damage)
    return FrameIndex(ticks, np.flatnonzero(np.array(is_key, bool) & whole), whole=whole)


def _frame_ticks(times: Sequence[int | None], stream: VideoStream) -> float:
    """The usual step between two frames: the median of the steps that rise, else that of the stated rate."""
    known = np.array([time for time in times if time is not None], np.int64)
    steps = np.diff(known)
    steps = steps[steps > 0]
    if len(steps):
        return float(np.median(steps))
    return float(1 / stream.average_rate / stream.time_base) if stream.average_rate and stream.time_base else 1.0


def find_whole_frames(
    packets: Sequence[int | None], is_key: Sequence[bool], damage: PacketDamage
) -> npt.NDArray[np.bool_]:
    """Which frames depend on no damaged packet, bool [N], given the packet of each frame in the order shown.

    A damaged packet spoils every frame that is decoded from it on, until a keyframe; frames that are decoded after this
    keyframe and shown before it may still depend on what is spoilt. The same holds for a file that starts between
    keyframes. Codecs without keyframes are taken to start whole, and never recover.
    """
    whole = np.zeros(len(packets), bool)
    known = [packet for packet in packets if packet is not None]
    if len(known) < len(packets):  # what is decoded from which packet is not known
        whole[:] = not damage.damaged
        return whole
    damaged = sorted(damage.damaged)
    is_clean = damage.starts_with_keyframe or not any(is_key)
    first_shown = 0
    position = 0
    for number in np.argsort(known, kind="stable").tolist():
        while position < len(damaged) and damaged[position] < known[number]:
            is_clean, position = False, position + 1
        is_damaged = position < len(damaged) and damaged[position] == known[number]
        if is_damaged:
            is_clean = False
        elif is_key[number] and (not is_clean or known[number] == 0):
            is_clean, first_shown = True, number
        whole[number] = is_clean and number >= first_shown
    return whole
