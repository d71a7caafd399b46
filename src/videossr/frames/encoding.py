"""From one video to its stored frames: what a process of the frames stage does, without tables and progress bars."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2

from videossr.clip import Pixels
from videossr.decode import Reading, probe, read_frames
from videossr.decode.file_guard import require_unchanged
from videossr.errors import DecodeError
from videossr.frames.sampling import FramesParams, choose_frames, fitted_size, moved_to_keyframes
from videossr.records import RejectedFile, Video

# Half the chroma would cost 3 dB of these small frames. simplejpeg reads faster, but writes with a coarser transform
# (0.4 dB) and with tables that fit no frame in particular (3 % of the bytes at 320x192, 13 % at 64x64).
_HOW = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
]


@dataclass(frozen=True)
class EncodedVideo:
    """The frames of one video as JPEG files, their (height, width), their times in seconds, and who read them."""

    size: tuple[int, int]
    times: list[float]
    jpegs: list[bytes]
    reading: Reading


def encode_video(video: Video, params: FramesParams) -> EncodedVideo | RejectedFile:
    """The frames of one video, or why there are none."""
    try:
        with require_unchanged(Path(video.path)):
            return _encoded(video, params)
    except DecodeError as error:
        return RejectedFile(video.path, error.reason, error.detail)
    except OSError as error:
        return RejectedFile(video.path, "unreadable", error.strerror or "")


def _encoded(video: Video, params: FramesParams) -> EncodedVideo:
    path = Path(video.path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(video.video_id):
        raise DecodeError("changed_while_read", "its bytes are no longer those that ingest saw: run ingest again")
    probed = probe(path)
    index = choose_frames(probed.times, params.num_frames, params.span)
    if index is None:
        raise DecodeError("too_short", f"{params.num_frames} frames are needed within {params.span}")
    size = fitted_size(probed.height, probed.width, params.min_pixels, params.max_pixels)
    if params.sampling == "keyframes":
        index = moved_to_keyframes(index, probed.times, probed.keyframes)
    check = int(video.video_id[:8], 16) < params.verify_fraction * 2**32
    frames, reading = read_frames(path, probed, index, size, params.decoder, check)
    return EncodedVideo(size, probed.times[index].tolist(), [encode_jpeg(frame) for frame in frames], reading)


def encode_jpeg(frame: Pixels) -> bytes:
    """A frame uint8 [H,W,3] RGB as a JPEG file of quality 95, full chroma, with Huffman tables of its own."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _HOW)[1])
