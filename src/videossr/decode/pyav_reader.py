"""The first reader: seeks past keyframes that nobody needs and skips non-reference frames, and is still exact."""

from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import frames_in_order, opened, packets
from videossr.decode.orientation import Orientation, to_upright
from videossr.decode.probing import INDEX_BY_DECODING, Probe
from videossr.errors import DecodeError

READ_IN_ORDER = ("avi", "mpegts")
_SKIPS_NONREF = ("h264", "hevc")
Places = dict[int, Pixels]  # presentation time in ticks (or number) of a wanted frame -> where its pixels go


def read_seeking(path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int]) -> Pixels | None:
    """Frames with the rising numbers `index`, the fast way; None where it met anything that it cannot vouch for."""
    wanted = probed.index.pts[index]
    frames = np.empty((len(index), *size, 3), np.uint8)  # filled in place: memory holds them once
    keys = np.searchsorted(probed.index.key_pts, wanted, side="right") - 1
    if keys[0] < 0:
        return None
    try:
        with opened(path) as (container, stream):
            for key in np.unique(keys):
                places = {int(wanted[place]): frames[place] for place in np.flatnonzero(keys == key)}
                if not _read_group(container, stream, probed.orientation, int(probed.index.key_pts[key]), places):
                    return None
    except DecodeError:
        return None
    return frames


def _read_group(container: InputContainer, stream: VideoStream, how: Orientation, key_pts: int, places: Places) -> bool:
    """Seek to one keyframe and decode until every wanted frame that follows it is in its place."""
    left = set(places)
    skips = stream.codec_context.name in _SKIPS_NONREF
    container.seek(key_pts, stream=stream, backward=True)
    landed = False
    for packet in packets(container, stream):
        if not landed and packet.pts is not None and packet.is_keyframe:
            landed = True
            if packet.pts > key_pts:
                return False
        if skips:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in places or packet.size == 0 else "NONREF"
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt and frame.pts is not None and frame.pts >= key_pts:
                return False
            _put(frame, how, places, left)
        if left == {key_pts}:  # nothing after it is wanted: the decoder need not be fed to give it out
            _drain(stream, how, places, left)
        if not left:
            return True
    return False


def first_decoded_around(probed: Probe, index: FrameNumbers) -> FrameNumbers:
    """Where `read_around` begins for each of `index`: at the keyframe before the one that the frame before rests on.

    -1 where there is none.
    """
    rests_on = np.searchsorted(probed.keyframes, np.maximum(index - 1, 0), side="right") - 1
    return np.where(rests_on < 0, -1, np.append(probed.keyframes, -1)[np.maximum(rests_on - 1, 0)])


def read_around(path: Path, probed: Probe, number: int, size: tuple[int, int]) -> dict[int, Pixels]:
    """A frame and its neighbours, by their numbers, decoded in order from well before them on; nothing is skipped.

    For containers with an index to seek by. Raises DecodeError where there is no keyframe to begin at, or anything is
    damaged on the way.
    """
    begin = int(first_decoded_around(probed, np.array([number]))[0])
    if begin < 0:
        raise DecodeError("unsupported", "no keyframe to begin at")
    numbers = range(max(number - 1, 0), min(number + 2, len(probed.times)))
    frames = {near: np.empty((*size, 3), np.uint8) for near in numbers}
    places = {int(probed.index.pts[near]): place for near, place in frames.items()}
    left = set(places)
    with opened(path) as (container, stream):
        container.seek(int(probed.index.pts[begin]), stream=stream, backward=True)
        for frame in frames_in_order(container, stream):
            if frame.is_corrupt and frame.pts is not None and frame.pts >= probed.index.pts[begin]:
                break
            _put(frame, probed.orientation, places, left)
            if not left:
                return frames
    raise DecodeError("corrupt", f"a damaged frame within {number - begin} before frame {number}, or none at its time")


def _put(frame: VideoFrame, how: Orientation, places: Places, left: set[int]) -> None:
    if frame.pts in left:
        place = places[frame.pts]
        place[:] = to_upright(frame, place.shape[:2], how)
        left.remove(frame.pts)


def _drain(stream: VideoStream, how: Orientation, places: Places, left: set[int]) -> None:
    for frame in stream.codec_context.decode(None):
        if not frame.is_corrupt:
            _put(frame, how, places, left)
    stream.codec_context.flush_buffers()


def read_in_order(path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int]) -> Pixels:
    """The same, the slow way: from the first frame on, each known by its time or, where it has none, by its number."""
    by_number = probed.container in INDEX_BY_DECODING
    wanted = index if by_number else probed.index.pts[index]
    frames = np.empty((len(index), *size, 3), np.uint8)
    places = {int(key): place for key, place in zip(wanted, frames, strict=True)}
    left = set(places)
    with opened(path) as (container, stream):
        for number, frame in enumerate(frames_in_order(container, stream)):
            if frame.is_corrupt:
                raise DecodeError("corrupt", f"a damaged frame at {frame.time or 0:.2f} s")
            if by_number:
                frame.pts = number
            _put(frame, probed.orientation, places, left)
            if not left:
                return frames
    raise DecodeError("corrupt", f"{len(left)} of {len(wanted)} frames cannot be decoded")
