"""A video file -> its clock, and exact frames at chosen presentation times; the only module that opens a video.

Reading is lean and still frame-exact: the packets are indexed by demuxing alone, the reader seeks past keyframes that
no wanted frame needs, non-reference frames that nobody wants are never decoded, one thread a process, and swscale
delivers the wanted size at once. Whatever the fast path cannot deliver is read again from the first packet on.
"""

from pathlib import Path

import numpy as np

from videossr.clip import Clip, Times
from videossr.decode.probing import Probe, presentation_times, probe
from videossr.decode.readers import Decoder, Reading, read_frames
from videossr.decode.reasons import REASONS
from videossr.decode.thumbnails import iter_thumbnails

__all__ = [
    "Decoder",
    "Probe",
    "REASONS",
    "Reading",
    "decode",
    "iter_thumbnails",
    "presentation_times",
    "probe",
    "read_frames",
]


def decode(
    path: Path, times: Times, *, size: tuple[int, int], decoder: Decoder = "auto", probed: Probe | None = None
) -> Clip:
    """The frames shown at exactly `times` (float64 [T], as `presentation_times` gives them), scaled to `size`.

    `size` is (height, width) as displayed: rotation and pixel aspect are applied. `probed` saves indexing again.
    `auto` picks the reader by the rules of `choice`. Raises DecodeError; a frame that is
    not the one asked for, or that rests on damaged ones, is never returned.
    """
    probed = probed or probe(path)
    index = np.searchsorted(probed.times, times - 1e-6)
    if np.any(index >= len(probed.times)) or np.any(np.abs(probed.times[index] - times) > 1e-6):
        raise ValueError("times must be presentation times of this video")
    return Clip(read_frames(path, probed, index, size, decoder)[0], times)
