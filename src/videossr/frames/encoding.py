"""Read the frames of one video and encode them as JPEG files.

Every worker process imports this module, so it imports neither pyarrow nor tqdm: they cost memory and start-up time.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2

from videossr.clip import Pixels
from videossr.decode import ReaderChoice, VideoInfo, probe_video, read_frames
from videossr.decode.file_guard import FileState, file_state, require_unchanged
from videossr.errors import DecodeError
from videossr.frames.sampling import FramesParams, choose_frames, move_to_keyframes, window_frames
from videossr.records import RejectedFile, Video, source_of

# Chroma subsampling would cost 3 dB at this frame size. simplejpeg decodes faster, but encodes with a coarser transform
# (0.4 dB) and with fixed Huffman tables (3 % more bytes at 320x192, 13 % at 64x64), so OpenCV encodes.
_JPEG_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
]


@dataclass(frozen=True)
class EncodedVideo:
    """The frames of one video as JPEG files, their (height, width), their times in seconds, and their reader."""

    size: tuple[int, int]
    times: list[float]
    jpegs: list[bytes]
    reader_choice: ReaderChoice


def encode_video(video: Video, params: FramesParams) -> EncodedVideo | RejectedFile:
    """Return the encoded frames of one video, or a RejectedFile if it cannot be read or has changed since ingest.

    Of a window, only its part of the file is decoded, and times start at 0 at its first frame.
    """
    try:
        with require_unchanged(Path(video.path)):
            return _read_and_encode(video, params)
    except DecodeError as error:
        return RejectedFile(video.name, error.reason, error.detail)
    except OSError as error:
        return RejectedFile(video.name, "unreadable", error.strerror or "")


def _read_and_encode(video: Video, params: FramesParams) -> EncodedVideo:
    path = Path(video.path)
    digest, info = _hash_and_probe(path, file_state(path))
    if not digest.startswith(source_of(video.video_id)):
        raise DecodeError("changed_while_read", "its bytes have changed since ingest: run `dvc repro`")
    part = window_frames(info.times, video.window_seconds)
    chosen = choose_frames(info.times[part], params.num_frames, params.span)
    if chosen is None:
        raise DecodeError("too_short", f"{params.num_frames} frames are needed within {params.span}")
    frame_numbers = part.start + chosen
    size = params.stored_size(info.height, info.width, video.split)
    if params.sampling == "keyframes":
        frame_numbers = move_to_keyframes(frame_numbers, info.times, info.keyframes)
    check = int(video.video_id[:8], 16) < params.verify_fraction * 2**32
    frames, choice = read_frames(path, info, frame_numbers, size, params.decoder, check)
    times = info.times[frame_numbers] - info.times[part.start]
    return EncodedVideo(size, times.tolist(), [encode_jpeg(frame) for frame in frames], choice)


@lru_cache(maxsize=1)
def _hash_and_probe(path: Path, state: FileState) -> tuple[str, VideoInfo]:
    """SHA-256 and index of a file in this state. The last one is kept: the windows of a file follow each other."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, probe_video(path)


def encode_jpeg(frame: Pixels) -> bytes:
    """Return a frame, uint8 [H, W, 3] RGB, as a JPEG file: quality 95, full chroma, optimised Huffman tables."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _JPEG_OPTIONS)[1])
