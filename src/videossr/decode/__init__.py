"""Decode video files: presentation times, and exact frames at chosen presentation times. No other package reads videos.

Decoding is cheap and still frame-exact. Where its packets can be trusted, a file is indexed by demuxing alone; the
reader seeks past keyframes that no wanted frame depends on, does not decode unwanted non-reference frames, uses one
thread per process, and lets swscale deliver the wanted size directly. Every other file is decoded from its first packet
to its last. docs/videos.md lists the kinds of files.
"""

from pathlib import Path

import numpy as np

from videossr.clip import Clip, FrameNumbers, Times
from videossr.decode.probing import SeekingFailed, VideoInfo, presentation_times, probe_and_read, probe_video
from videossr.decode.readers import Decoder, ReaderChoice, read_frames
from videossr.decode.reasons import REASONS
from videossr.decode.thumbnails import iter_thumbnails
from videossr.errors import DecodeError

__all__ = [
    "Decoder",
    "REASONS",
    "ReaderChoice",
    "VideoInfo",
    "decode",
    "iter_thumbnails",
    "presentation_times",
    "probe_and_read",
    "probe_video",
    "read_frames",
]


def decode(
    path: Path, times: Times, *, size: tuple[int, int], decoder: Decoder = "auto", info: VideoInfo | None = None
) -> Clip:
    """Return the frames at exactly `times` (float64 [T], some of `presentation_times(path)`), scaled to `size`.

    `size` is (height, width) as displayed: rotation and pixel aspect are applied. Pass `info` if the file was probed
    before; a SeekingFailed then says that the probe was wrong (`probe_and_read`). `auto` chooses the reader by the
    rules of `videossr.decode.readers`. A wrong frame, or one that depends on damaged frames, is never returned. Raises
    DecodeError; ValueError if a time is not a presentation time.
    """
    probed = info or probe_video(path)
    frame_numbers = _find_frames(probed, times)
    if frame_numbers is None:
        raise ValueError("times must be presentation times of this video")
    try:
        return Clip(read_frames(path, probed, frame_numbers, size, decoder)[0], times)
    except SeekingFailed:
        if info is not None:
            raise
    probed = probe_video(path, by_decoding=True)
    frame_numbers = _find_frames(probed, times)
    if frame_numbers is None:
        raise DecodeError("corrupt", "a full decode shows no frames at some of these times")
    return Clip(read_frames(path, probed, frame_numbers, size, decoder)[0], times)


def _find_frames(info: VideoInfo, times: Times) -> FrameNumbers | None:
    """The numbers of the frames at `times`, None if one is not the time of a frame."""
    numbers = np.minimum(np.searchsorted(info.times, times - 1e-6), len(info.times) - 1)
    return numbers if np.all(np.abs(info.times[numbers] - times) <= 1e-6) else None
