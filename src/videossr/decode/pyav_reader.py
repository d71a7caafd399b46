"""The first reader: seeks past keyframes that nobody needs and skips non-reference frames, and is still exact."""

import itertools
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videossr.decode.clip import Numbers, Pixels
from videossr.decode.container import frames_in_order, opened, packets, upright
from videossr.decode.probing import INDEX_BY_DECODING, Probe
from videossr.errors import DecodeError

READ_IN_ORDER = ("avi", "mpegts")
_SKIPS_NONREF = ("h264", "hevc")


def read_seeking(path: Path, probed: Probe, index: Numbers, size: tuple[int, int]) -> Pixels | None:
    """The fast path; None where it met anything that it cannot vouch for."""
    wanted = probed.index.pts[index]
    pixels: dict[int, Pixels] = {}
    keys = np.searchsorted(probed.index.key_pts, wanted, side="right") - 1
    if keys[0] < 0:
        return None
    try:
        with opened(path) as (container, stream):
            for key, group in itertools.groupby(zip(keys, wanted, strict=True), key=lambda pair: int(pair[0])):
                left = {int(pts) for _, pts in group} - pixels.keys()
                if left and not _read_group(container, stream, int(probed.index.key_pts[key]), left, size, pixels):
                    return None
    except DecodeError:
        return None
    return np.stack([pixels[int(pts)] for pts in wanted])


def _read_group(
    container: InputContainer,
    stream: VideoStream,
    key_pts: int,
    left: set[int],
    size: tuple[int, int],
    pixels: dict[int, Pixels],
) -> bool:
    """Seek to one keyframe and decode until every wanted frame that follows it is delivered."""
    wanted = frozenset(left)
    skips = stream.codec_context.name in _SKIPS_NONREF
    container.seek(key_pts, stream=stream, backward=True)
    landed = False
    for packet in packets(container, stream):
        if not landed and packet.pts is not None and packet.is_keyframe:
            landed = True
            if packet.pts > key_pts:
                return False
        if skips:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted or packet.size == 0 else "NONREF"
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt and frame.pts is not None and frame.pts >= key_pts:
                return False
            if frame.pts in left:
                pixels[frame.pts] = upright(frame, size)
                left.remove(frame.pts)
        if left == {key_pts}:  # nothing after it is wanted: the decoder need not be fed to give it out
            _drain(stream, left, size, pixels)
        if not left:
            return True
    return False


def _drain(stream: VideoStream, left: set[int], size: tuple[int, int], pixels: dict[int, Pixels]) -> None:
    for frame in stream.codec_context.decode(None):
        if frame.pts in left and not frame.is_corrupt:
            pixels[frame.pts] = upright(frame, size)
            left.remove(frame.pts)
    stream.codec_context.flush_buffers()


def read_in_order(path: Path, probed: Probe, index: Numbers, size: tuple[int, int]) -> Pixels:
    """The slow path: every frame from the first on, known by its time or, where there is none, by its number."""
    by_number = probed.container in INDEX_BY_DECODING
    wanted = index if by_number else probed.index.pts[index]
    pixels: dict[int, Pixels] = {}
    left = {int(key) for key in wanted}
    with opened(path) as (container, stream):
        for number, frame in enumerate(frames_in_order(container, stream)):
            if frame.is_corrupt:
                raise DecodeError("corrupt", f"a damaged frame at {frame.time or 0:.2f} s")
            key = number if by_number else frame.pts
            if key in left:
                pixels[key] = upright(frame, size)
                left.remove(key)
            if not left:
                return np.stack([pixels[int(key)] for key in wanted])
    raise DecodeError("corrupt", f"{len(left)} of {len(wanted)} frames cannot be decoded")
