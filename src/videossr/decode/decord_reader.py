"""The second reader, decord: used where it agrees with the container on the number of frames and on their times."""

from pathlib import Path

import numpy as np

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import first_line
from videossr.decode.probing import VideoInfo
from videossr.decode.pyav_reader import READ_IN_ORDER
from videossr.errors import DecodeError


def read_with_decord(path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int]) -> Pixels:
    """Return the frames `frame_numbers`, scaled to `size` (height, width): uint8 [T, H, W, 3].

    Raises DecodeError("unsupported") for files that decord cannot read or is known to misread.
    """
    import decord  # slow to import, and not needed with the default settings

    if info.orientation.is_mirrored:
        raise DecodeError("unsupported", "decord rotates videos that need a mirror: set frames.decoder to auto")
    if info.packet_index.has_leading_frames or info.container in READ_IN_ORDER:
        # decord seeks to keyframes that such frames do not follow, and returns other frames without an error.
        raise DecodeError("unsupported", "decord misreads open GOPs, AVI and MPEG-TS: set frames.decoder to auto")
    try:
        reader = decord.VideoReader(str(path), width=size[1], height=size[0], num_threads=1)
        seconds = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(seconds) != len(info.times) or np.abs(seconds - seconds[0] - info.times).max() > 2e-3:
            raise DecodeError("unsupported", f"decord counts {len(seconds)} frames, the container {len(info.times)}")
        return np.asarray(reader.get_batch(frame_numbers).asnumpy())
    except decord.DECORDError as error:
        raise DecodeError("unsupported", first_line(error)) from None
