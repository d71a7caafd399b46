"""The first reader, PyAV: it seeks past unneeded keyframes and skips non-reference frames, and is still frame-exact."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import iter_packets, open_video
from videossr.decode.full_decode import PacketDamage, decode_in_order
from videossr.decode.orientation import Orientation, to_upright_rgb
from videossr.decode.probing import VideoInfo
from videossr.errors import DecodeError

_CODECS_THAT_SKIP_NONREF = ("h264", "hevc")
Targets = dict[int, Pixels]  # presentation time in ticks (or number) of a wanted frame -> array to write its pixels to


def read_seeking(path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int]) -> Pixels | None:
    """Return the frames `frame_numbers` (increasing), uint8 [T, H, W, 3], by seeking to keyframes.

    Returns None if it finds damage, does not reach a frame, or the decoder contradicts the index: a keyframe is none,
    or frames are shown in another order. Only a full decode can index such a file.
    """
    wanted = info.index.ticks[frame_numbers]
    frames = np.empty((len(frame_numbers), *size, 3), np.uint8)  # filled in place: one copy in memory
    key_pts = info.index.ticks[info.keyframes]
    keys = np.searchsorted(key_pts, wanted, side="right") - 1
    try:
        with open_video(path, info.stream_index) as (container, stream):
            for key in np.unique(keys):
                targets = {int(wanted[i]): frames[i] for i in np.flatnonzero(keys == key)}
                start = int(key_pts[key]) if key >= 0 else None
                if not _read_after_keyframe(container, stream, info.orientation, start, targets):
                    return None
    except DecodeError as error:
        if error.reason == "out_of_memory":
            raise
        return None
    return frames


def _read_after_keyframe(
    container: InputContainer, stream: VideoStream, orientation: Orientation, key_pts: int | None, targets: Targets
) -> bool:
    """Seek to one keyframe and decode until all `targets` are written; return whether that succeeded.

    None stands for a keyframe that an edit list hides: decode from the start of the file.
    """
    missing = set(targets)
    is_proven = key_pts is None
    last_pts = None
    for frame in _decode_after_keyframe(container, stream, key_pts, targets, missing):
        if frame.pts is None or (last_pts is not None and frame.pts <= last_pts):
            return False
        last_pts = frame.pts
        if key_pts is not None and frame.pts < key_pts:
            continue
        is_proven |= frame.pts == key_pts and frame.key_frame
        if frame.is_corrupt or not is_proven:
            return False
        _write_if_missing(frame, orientation, targets, missing)
        if not missing:
            return True
    return False


def _decode_after_keyframe(
    container: InputContainer, stream: VideoStream, key_pts: int | None, targets: Targets, missing: set[int]
) -> Iterator[VideoFrame]:
    """Seek and yield frames in the order shown, without frames that neither `targets` nor any other frame needs.

    Yields none if the container does not lead to the keyframe.
    """
    can_skip = stream.codec_context.name in _CODECS_THAT_SKIP_NONREF
    if key_pts is not None:
        container.seek(key_pts, stream=stream, backward=True)
    found_keyframe = key_pts is None
    for packet in iter_packets(container, stream):
        if not found_keyframe and packet.pts is not None and packet.is_keyframe:
            found_keyframe = True
            if key_pts is not None and packet.pts > key_pts:
                return
        if can_skip:
            is_wanted = packet.pts in targets or packet.pts == key_pts or packet.size == 0
            stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        frames = packet.decode()
        if missing == {key_pts} == {packet.pts} and not frames:  # nothing after the keyframe is wanted
            frames = _flush_decoder(stream)
        yield from frames


def _flush_decoder(stream: VideoStream) -> list[VideoFrame]:
    frames = stream.codec_context.decode(None)
    stream.codec_context.flush_buffers()
    return frames


def _write_if_missing(frame: VideoFrame, orientation: Orientation, targets: Targets, missing: set[int]) -> None:
    if frame.pts in missing:
        pixels = targets[frame.pts]
        pixels[:] = to_upright_rgb(frame, pixels.shape[:2], orientation)
        missing.remove(frame.pts)


def read_in_order(path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int]) -> Pixels:
    """Return the frames `frame_numbers`, uint8 [T, H, W, 3], by decoding from the first packet on: slow, always exact.

    Frames are found by their numbers in the index of a full decode, else by their presentation times. Raises
    DecodeError if a wanted frame is missing, or is damaged; in an index of packets, also if any frame before it is
    damaged or shown in another order.
    """
    by_number = info.index.whole is not None
    wanted = frame_numbers if by_number else info.index.ticks[frame_numbers]
    frames = np.empty((len(frame_numbers), *size, 3), np.uint8)
    targets = {int(key): pixels for key, pixels in zip(wanted, frames, strict=True)}
    missing = set(targets)
    if info.index.whole is not None and not info.index.whole[frame_numbers].all():
        damaged = frame_numbers[~info.index.whole[frame_numbers]]
        raise DecodeError("corrupt", f"{len(damaged)} damaged frames, the first at {info.times[damaged[0]]:.2f} s")
    with open_video(path, info.stream_index) as (container, stream):
        for frame in _iter_numbered(container, stream) if by_number else _iter_sound_frames(container, stream):
            _write_if_missing(frame, info.orientation, targets, missing)
            if not missing:
                return frames
    raise DecodeError("corrupt", f"{len(missing)} of {len(wanted)} frames cannot be decoded")


def _iter_numbered(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield every frame with its number as its time."""
    for number, (_, frame) in enumerate(decode_in_order(container, stream, PacketDamage())):
        frame.pts = number
        yield frame


def _iter_sound_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield every frame; raises DecodeError at the first damage, and where times fall."""
    damage, last_pts = PacketDamage(), None
    for _, frame in decode_in_order(container, stream, damage):
        if frame.is_corrupt or damage.damaged:
            raise DecodeError("corrupt", f"a damaged frame at {frame.time or 0:.2f} s")
        if frame.pts is None or (last_pts is not None and frame.pts <= last_pts):
            raise DecodeError("corrupt", "frames are shown in another order than their times say")
        last_pts = frame.pts
        yield frame
