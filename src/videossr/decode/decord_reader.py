"""The second reader, decord: used where it agrees with the container on the number of frames and on their times."""

from pathlib import Path

import numpy as np

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import first_line
from videossr.decode.probing import VideoInfo
from videossr.errors import DecodeError


def read_with_decord(
    path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int], in_order: bool = False
) -> Pixels:
    """Return the frames `frame_numbers`, scaled to `size` (height, width): uint8 [T, H, W, 3].

    With `in_order`, it decodes from the start of the file instead of seeking to keyframes. Raises
    DecodeError("unsupported") for files that decord cannot read or is known to misread.
    """
    import decord  # slow to import, and not needed with the default settings

    if info.orientation.is_mirrored:
        raise DecodeError("unsupported", "decord rotates videos that need a mirror: set frames.decoder to auto")
    if info.index.has_leading_frames or info.index.whole is not None:
        # decord seeks to keyframes that such frames do not follow, and returns other frames without an error.
        kinds = "open GOPs and files that only a full decode can index"
        raise DecodeError("unsupported", f"decord misreads {kinds}: set frames.decoder to auto")
    try:
        reader = decord.VideoReader(str(path), width=size[1], height=size[0], num_threads=1)
        seconds = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(seconds) != len(info.times) or np.abs(seconds - seconds[0] - info.times).max() > 2e-3:
            raise DecodeError("unsupported", f"decord counts {len(seconds)} frames, the container {len(info.times)}")
        if not in_order:
            return np.asarray(reader.get_batch(frame_numbers).asnumpy())
        wanted = set(frame_numbers.tolist())
        frames = ((number, reader.next()) for number in range(max(wanted) + 1))
        return np.stack([frame.asnumpy() for number, frame in frames if number in wanted])
    except (decord.DECORDError, StopIteration) as error:
        raise DecodeError("unsupported", first_line(error)) from None
