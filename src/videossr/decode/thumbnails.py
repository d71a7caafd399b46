"""A few small pictures of a video, from which ingest finds near-duplicates."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videossr.clip import Pixels
from videossr.decode.orientation import to_grey
from videossr.decode.probing import THUMBNAIL_SIZE, SeekingFailed, VideoInfo
from videossr.decode.readers import read_frames
from videossr.errors import DecodeError

# Fixed times and not keyframes, because each encoding of a video has other keyframes. Near the start they cost little.
_SECONDS = np.array([1.0, 2.0, 4.0, 10.0, 30.0])


def iter_thumbnails(path: Path, info: VideoInfo) -> Iterator[Pixels]:
    """Yield upright grey pictures, uint8 [16, 17]: the first frame, then the frames nearest to 1, 2, 4, 10 and 30 s.

    Each is decoded on demand; the first is part of `info` and costs nothing. Ends early at the end of the video, or at
    a damaged frame. Raises SeekingFailed where the packets promised frames that are not there.
    """
    yield info.thumbnail
    wanted = _SECONDS[info.times[-1] >= _SECONDS]
    after = np.searchsorted(info.times, wanted)
    nearest = after - (wanted - info.times[after - 1] < info.times[after] - wanted)
    for number in np.unique(nearest[nearest > 0]):
        try:
            frames, _ = read_frames(path, info, np.array([number]), THUMBNAIL_SIZE, "auto")
        except SeekingFailed:
            raise
        except DecodeError:
            return
        yield to_grey(frames[0])
