"""The first reader, PyAV: it seeks past unneeded keyframes and skips non-reference frames, and is still frame-exact."""

from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import iter_frames, iter_packets, open_video
from videossr.decode.orientation import Orientation, to_upright_rgb
from videossr.decode.probing import INDEXED_BY_DECODING, VideoInfo
from videossr.errors import DecodeError

READ_IN_ORDER = ("avi", "mpegts")  # containers without an index to seek by
_CODECS_THAT_SKIP_NONREF = ("h264", "hevc")
Targets = dict[int, Pixels]  # presentation time in ticks (or number) of a wanted frame -> array to write its pixels to


def read_seeking(path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int]) -> Pixels | None:
    """Return the frames `frame_numbers` (increasing), uint8 [T, H, W, 3], by seeking to keyframes.

    Returns None if it finds damage or does not reach a frame: use `read_in_order` then.
    """
    wanted_pts = info.packet_index.pts[frame_numbers]
    frames = np.empty((len(frame_numbers), *size, 3), np.uint8)  # filled in place: one copy in memory
    keys = np.searchsorted(info.packet_index.key_pts, wanted_pts, side="right") - 1
    if keys[0] < 0:
        return None
    try:
        with open_video(path) as (container, stream):
            for key in np.unique(keys):
                targets = {int(wanted_pts[i]): frames[i] for i in np.flatnonzero(keys == key)}
                key_pts = int(info.packet_index.key_pts[key])
                if not _read_after_keyframe(container, stream, info.orientation, key_pts, targets):
                    return None
    except DecodeError:
        return None
    return frames


def _read_after_keyframe(
    container: InputContainer, stream: VideoStream, orientation: Orientation, key_pts: int, targets: Targets
) -> bool:
    """Seek to one keyframe and decode until all `targets` are written; return whether that succeeded."""
    missing = set(targets)
    can_skip = stream.codec_context.name in _CODECS_THAT_SKIP_NONREF
    container.seek(key_pts, stream=stream, backward=True)
    found_keyframe = False
    for packet in iter_packets(container, stream):
        if not found_keyframe and packet.pts is not None and packet.is_keyframe:
            found_keyframe = True
            if packet.pts > key_pts:
                return False
        if can_skip:
            is_wanted = packet.pts in targets or packet.size == 0
            stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt and frame.pts is not None and frame.pts >= key_pts:
                return False
            _write_if_missing(frame, orientation, targets, missing)
        if missing == {key_pts}:  # only the keyframe is wanted: flush the decoder instead of feeding it more packets
            _flush_decoder(stream, orientation, targets, missing)
        if not missing:
            return True
    return False


def find_start_keyframes(info: VideoInfo, frame_numbers: FrameNumbers) -> FrameNumbers:
    """Return the keyframe at which `read_with_neighbours` starts for each frame, -1 where there is none.

    It is one keyframe earlier than the keyframe before the left neighbour: in an open GOP, frames also depend on the
    GOP before.
    """
    last_key = np.searchsorted(info.keyframes, np.maximum(frame_numbers - 1, 0), side="right") - 1
    return np.where(last_key < 0, -1, np.append(info.keyframes, -1)[np.maximum(last_key - 1, 0)])


def read_with_neighbours(path: Path, info: VideoInfo, frame_number: int, size: tuple[int, int]) -> dict[int, Pixels]:
    """Return a frame and its two neighbours, by frame number, from a decode in order that skips nothing.

    Decoding starts at `find_start_keyframes`, so the container must have an index to seek by. Raises DecodeError if
    there is no keyframe to start at, or if a frame on the way is damaged.
    """
    start = int(find_start_keyframes(info, np.array([frame_number]))[0])
    if start < 0:
        raise DecodeError("unsupported", "no keyframe to start at")
    pts = info.packet_index.pts
    neighbours = range(max(frame_number - 1, 0), min(frame_number + 2, len(info.times)))
    frames = {number: np.empty((*size, 3), np.uint8) for number in neighbours}
    targets = {int(pts[number]): pixels for number, pixels in frames.items()}
    missing = set(targets)
    with open_video(path) as (container, stream):
        container.seek(int(pts[start]), stream=stream, backward=True)
        for frame in iter_frames(container, stream):
            if frame.is_corrupt and frame.pts is not None and frame.pts >= pts[start]:
                break
            _write_if_missing(frame, info.orientation, targets, missing)
            if not missing:
                return frames
    raise DecodeError("corrupt", f"a damaged or missing frame between frames {start} and {frame_number + 1}")


def _write_if_missing(frame: VideoFrame, orientation: Orientation, targets: Targets, missing: set[int]) -> None:
    if frame.pts in missing:
        pixels = targets[frame.pts]
        pixels[:] = to_upright_rgb(frame, pixels.shape[:2], orientation)
        missing.remove(frame.pts)


def _flush_decoder(stream: VideoStream, orientation: Orientation, targets: Targets, missing: set[int]) -> None:
    for frame in stream.codec_context.decode(None):
        if not frame.is_corrupt:
            _write_if_missing(frame, orientation, targets, missing)
    stream.codec_context.flush_buffers()


def read_in_order(path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int]) -> Pixels:
    """Return the frames `frame_numbers`, uint8 [T, H, W, 3], by decoding from the first packet on: slow, always exact.

    A frame is identified by its presentation time, or by its number in containers without presentation times (AVI).
    Raises DecodeError if a frame up to the last wanted one is damaged or missing.
    """
    by_number = info.container in INDEXED_BY_DECODING
    wanted = frame_numbers if by_number else info.packet_index.pts[frame_numbers]
    frames = np.empty((len(frame_numbers), *size, 3), np.uint8)
    targets = {int(key): pixels for key, pixels in zip(wanted, frames, strict=True)}
    missing = set(targets)
    with open_video(path) as (container, stream):
        for number, frame in enumerate(iter_frames(container, stream)):
            if frame.is_corrupt:
                raise DecodeError("corrupt", f"a damaged frame at {frame.time or 0:.2f} s")
            if by_number:
                frame.pts = number
            _write_if_missing(frame, info.orientation, targets, missing)
            if not missing:
                return frames
    raise DecodeError("corrupt", f"{len(missing)} of {len(wanted)} frames cannot be decoded")
