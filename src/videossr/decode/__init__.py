"""Decode video files: presentation times, and exact frames at chosen presentation times. No other package reads videos.

Decoding is cheap and still frame-exact. The packet index is built by demuxing alone. The reader seeks past keyframes
that no wanted frame depends on, does not decode unwanted non-reference frames, uses one thread per process, and lets
swscale deliver the wanted size directly. A file that this fast path cannot read is decoded from its first packet on.
"""

from pathlib import Path

import numpy as np

from videossr.clip import Clip, Times
from videossr.decode.probing import VideoInfo, presentation_times, probe_video
from videossr.decode.readers import Decoder, ReaderChoice, read_frames
from videossr.decode.reasons import REASONS
from videossr.decode.thumbnails import iter_thumbnails

__all__ = [
    "Decoder",
    "REASONS",
    "ReaderChoice",
    "VideoInfo",
    "decode",
    "iter_thumbnails",
    "presentation_times",
    "probe_video",
    "read_frames",
]


def decode(
    path: Path, times: Times, *, size: tuple[int, int], decoder: Decoder = "auto", info: VideoInfo | None = None
) -> Clip:
    """Return the frames at exactly `times` (float64 [T], some of `presentation_times(path)`), scaled to `size`.

    `size` is (height, width) as displayed: rotation and pixel aspect are applied. Pass `info` if the file was probed
    before. `auto` chooses the reader by the rules of `videossr.decode.readers`. A wrong frame, or one that depends on
    damaged frames, is never returned. Raises DecodeError; ValueError if a time is not a presentation time.
    """
    info = info or probe_video(path)
    frame_numbers = np.searchsorted(info.times, times - 1e-6)
    if np.any(frame_numbers >= len(info.times)) or np.any(np.abs(info.times[frame_numbers] - times) > 1e-6):
        raise ValueError("times must be presentation times of this video")
    return Clip(read_frames(path, info, frame_numbers, size, decoder)[0], times)
