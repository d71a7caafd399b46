"""Prompts about video files, with frames chosen and scaled as in the frame store: inference matches training."""

from collections.abc import Sequence
from pathlib import Path

from videossr.clip import Clip
from videossr.decode import VideoInfo, decode, probe_and_read
from videossr.frames.sampling import FramesParams, choose_whole_frames, fitted_size
from videossr.models.policy import Prompt
from videossr.records import VIDEO_MARKER


def prompt_about_files(question: str, videos: Sequence[Path], frames: FramesParams) -> Prompt:
    """A prompt about video files. Without `<video>` markers in the question, all videos come before it.

    Raises DecodeError when a file cannot be read, PolicyError when markers and videos differ in number.
    """
    markers = question.count(VIDEO_MARKER)
    text = question if markers else VIDEO_MARKER * len(videos) + question
    return Prompt(text, tuple(read_clip(video, frames) for video in videos))


def read_clip(path: Path, frames: FramesParams) -> Clip:
    """Evenly spaced frames of a video file, chosen and scaled as in the frame store.

    Raises DecodeError when the file cannot be read or is too short.
    """

    def read(info: VideoInfo) -> Clip:
        index, _ = choose_whole_frames(info.times, info.index.whole, frames)
        size = fitted_size(info.height, info.width, frames.min_pixels, frames.max_pixels)
        return decode(path, info.times[index], size=size, decoder=frames.decoder, info=info)

    return probe_and_read(path, read, frames.num_frames)
