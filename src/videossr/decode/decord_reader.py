"""The second reader, which must agree with the container on how many frames there are and when."""

from pathlib import Path

import numpy as np

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.container import sentence
from videossr.decode.probing import Probe
from videossr.decode.pyav_reader import READ_IN_ORDER
from videossr.errors import DecodeError


def read_with_decord(path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int]) -> Pixels:
    """The frames with the numbers `index`, scaled to `size`. Raises DecodeError where decord is not to be trusted."""
    import decord  # a heavy import that the default never needs

    if probed.orientation.is_mirrored:
        raise DecodeError("unsupported", "decord turns what should be mirrored: set frames.decoder to auto")
    if probed.index.leading or probed.container in READ_IN_ORDER:
        # It seeks to keyframes that such frames do not follow, and returns other frames without a word.
        raise DecodeError("unsupported", "decord misreads open GOPs, AVI and MPEG-TS: set frames.decoder to auto")
    try:
        reader = decord.VideoReader(str(path), width=size[1], height=size[0], num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(stamps) != len(probed.times) or np.abs(stamps - stamps[0] - probed.times).max() > 2e-3:
            raise DecodeError("unsupported", f"decord sees {len(stamps)} frames, the container {len(probed.times)}")
        return np.asarray(reader.get_batch(index).asnumpy())
    except decord.DECORDError as error:
        raise DecodeError("unsupported", sentence(error)) from None
