"""Read the frames of one video and encode them as JPEG files.

Every worker process imports this module, so it imports neither pyarrow nor tqdm: they cost memory and start-up time.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from videossr.clip import Clip, Pixels
from videossr.decode import ReaderChoice, VideoInfo, probe_and_read, probe_video, read_frames
from videossr.decode.file_guard import FileState, file_state, require_unchanged
from videossr.errors import DecodeError
from videossr.frames.sampling import FramesParams, choose_whole_frames, move_to_keyframes, window_frames
from videossr.records import RejectedFile, Video, source_of

# Chroma subsampling would cost 3 dB at this frame size. simplejpeg decodes faster, but encodes with a coarser transform
# (0.4 dB) and with fixed Huffman tables (3 % more bytes at 320x192, 13 % at 64x64), so OpenCV encodes.
_JPEG_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
]


@dataclass(frozen=True)
class ChosenFrames:
    """The chosen frames of one video, their reader, and how many frames of the video are damaged.

    `replaced` of the chosen frames stand for damaged ones. `damaged` counts what a full decode found, if there was one.
    """

    clip: Clip
    choice: ReaderChoice
    damaged: int
    replaced: int


@dataclass(frozen=True)
class EncodedVideo:
    """The frames of one video as JPEG files, their (height, width), their times in seconds, and their reader.

    `damaged` and `replaced` are those of `ChosenFrames`.
    """

    size: tuple[int, int]
    times: list[float]
    jpegs: list[bytes]
    reader_choice: ReaderChoice
    damaged: int
    replaced: int


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
    state = file_state(path)
    if not _hash_file(path, state).startswith(source_of(video.video_id)):
        raise DecodeError("changed_while_read", "its bytes have changed since ingest: run `dvc repro`")
    check = int(video.video_id[:8], 16) < params.verify_fraction * 2**32

    def read(info: VideoInfo) -> EncodedVideo:
        size = params.stored_size(info.height, info.width, video.split)
        chosen = read_chosen_frames(path, info, params, size, video.window_seconds, check)
        jpegs = [encode_jpeg(frame) for frame in chosen.clip.frames]
        return EncodedVideo(size, chosen.clip.times.tolist(), jpegs, chosen.choice, chosen.damaged, chosen.replaced)

    return probe_and_read(path, read, params.num_frames, partial(_probe_file, state=state))


def read_chosen_frames(
    path: Path,
    info: VideoInfo,
    params: FramesParams,
    size: tuple[int, int],
    window_seconds: tuple[float, float] | None = None,
    check: bool = False,
) -> ChosenFrames:
    """Choose the frames of a probed video, or of a window of it, by `params`, and read them. Raises DecodeError."""
    part = window_frames(info.times, window_seconds)
    whole = None if info.index.whole is None else info.index.whole[part]
    chosen, replaced = choose_whole_frames(info.times[part], whole, params)
    numbers = part.start + chosen
    if params.sampling == "keyframes":
        numbers = move_to_keyframes(numbers, info.times, info.keyframes)
    frames, choice = read_frames(path, info, numbers, size, params.decoder, check)
    damaged = 0 if whole is None else int(np.sum(~whole))
    return ChosenFrames(Clip(frames, info.times[numbers] - info.times[part.start]), choice, damaged, replaced)


# The last results are kept: the windows of a file follow each other.
@lru_cache(maxsize=1)
def _hash_file(path: Path, state: FileState) -> str:
    """SHA-256 of a file in this state."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2)
def _probe_file(path: Path, min_frames: int, by_decoding: bool, state: FileState) -> VideoInfo:
    """What a probe of a file in this state says; two, by packets and by decoding, may be needed for each window."""
    return probe_video(path, min_frames, by_decoding)


def encode_jpeg(frame: Pixels) -> bytes:
    """Return a frame, uint8 [H, W, 3] RGB, as a JPEG file: quality 95, full chroma, optimised Huffman tables."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _JPEG_OPTIONS)[1])
