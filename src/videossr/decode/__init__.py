"""A video file -> its clock, and exact frames at chosen presentation times; the only module that opens a video.

Reading is lean and still frame-exact: the packets are indexed by demuxing alone, the reader seeks past keyframes that
no wanted frame needs, non-reference frames that nobody wants are never decoded, one thread a process, and swscale
delivers the wanted size at once. Whatever the fast path cannot deliver is read again from the first packet on.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from videossr.decode.clip import Clip, Pixels, Times
from videossr.decode.decord_reader import read_with_decord
from videossr.decode.probing import Probe, presentation_times, probe
from videossr.decode.pyav_reader import read_with_pyav
from videossr.decode.reasons import REASONS

__all__ = ["REASONS", "Clip", "Decoder", "Pixels", "Probe", "Times", "decode", "presentation_times", "probe"]

Decoder = Literal["auto", "decord", "pyav"]


def decode(
    path: Path, times: Times, *, size: tuple[int, int], decoder: Decoder = "auto", probed: Probe | None = None
) -> Clip:
    """The frames shown at exactly `times` (float64 [T], as `presentation_times` gives them), scaled to `size`.

    `size` is (height, width) as displayed: rotation and pixel aspect are applied. `probed` saves indexing again.
    `auto` reads with PyAV, the reader that was right on every container measured. Raises DecodeError; a frame that is
    not the one asked for, or that rests on damaged ones, is never returned.
    """
    probed = probed or probe(path)
    index = np.searchsorted(probed.times, times - 1e-6)
    if np.any(index >= len(probed.times)) or np.any(np.abs(probed.times[index] - times) > 1e-6):
        raise ValueError("times must be presentation times of this video")
    read = read_with_decord if decoder == "decord" else read_with_pyav
    return Clip(read(path, probed, index, size), times)
