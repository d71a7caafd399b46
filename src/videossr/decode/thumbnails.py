"""A few small pictures of a video, by which copies of it are told."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videossr.clip import Pixels
from videossr.decode.orientation import to_grey
from videossr.decode.probing import THUMBNAIL_SIZE, Probe
from videossr.decode.readers import read_frames
from videossr.errors import DecodeError

# On the clock, not at keyframes: every encoding has its own. Near the start, where they cost little.
_SECONDS = np.array([1.0, 2.0, 4.0, 10.0, 30.0])


def iter_thumbnails(path: Path, probed: Probe) -> Iterator[Pixels]:
    """Upright grey pictures, uint8 [16, 17], each decoded when it is asked for: the first, which costs nothing, then
    those shown after 1, 2, 4, 10 and 30 seconds. They end early where the video does, or where it cannot be decoded.
    """
    yield probed.thumbnail
    wanted = _SECONDS[probed.times[-1] >= _SECONDS]
    after = np.searchsorted(probed.times, wanted)
    nearest = after - (wanted - probed.times[after - 1] < probed.times[after] - wanted)
    for number in np.unique(nearest[nearest > 0]):
        try:
            frames, _ = read_frames(path, probed, np.array([number]), THUMBNAIL_SIZE, "auto")
        except DecodeError:
            return
        yield to_grey(frames[0])
