"""Inspect one file: hash, probe, visual signature. Worker processes import this module, so it loads no tables."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from videossr.decode import VideoInfo, iter_thumbnails, probe_and_read
from videossr.decode.file_guard import require_unchanged
from videossr.errors import DecodeError
from videossr.frames.sampling import choose_frames
from videossr.ingest.cut import CutVideo, cut_into_windows
from videossr.ingest.signature import VisualSignature, visual_signature
from videossr.ingest.windows import Windows
from videossr.records import RejectedFile, Video


@dataclass(frozen=True)
class InspectedVideo:
    """A usable file. Its `video_id` is the whole hash (64 hex digits) and its `split` is not decided yet.

    `cut` holds its windows, if it is cut into windows.
    """

    video: Video
    signature: VisualSignature
    cut: CutVideo | None = None


Inspection = InspectedVideo | RejectedFile


def inspect_file(path: Path, min_frames: int, span: tuple[float, float], windows: Windows | None = None) -> Inspection:
    """Hash and probe one file, which needs `min_frames` frames within the fractions `span` of its duration.

    Cut into `windows`, one of its windows needs as many.
    """
    try:
        with require_unchanged(path), path.open("rb") as file:
            if path.stat().st_size == 0:
                return RejectedFile(str(path), "not_a_video", "the file is empty")
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return probe_and_read(
                path, lambda info: _inspect_video(path, info, sha256, min_frames, span, windows), min_frames
            )
    except OSError as error:
        return RejectedFile(str(path), "unreadable", error.strerror or "")
    except DecodeError as error:
        return RejectedFile(str(path), error.reason, error.detail)


def _inspect_video(
    path: Path, info: VideoInfo, sha256: str, min_frames: int, span: tuple[float, float], windows: Windows | None
) -> InspectedVideo:
    video = Video(
        video_id=sha256,
        path=str(path),
        codec=info.codec,
        width=info.width,
        height=info.height,
        fps=info.fps,
        duration_seconds=info.duration_seconds,
        num_frames=len(info.times),
        split="train",
    )
    cut = cut_into_windows(video, info.times, windows, min_frames, span) if windows else None
    if cut is None and choose_frames(info.times, min_frames, span) is None:
        percent = f"{span[0]:.0%} to {span[1]:.0%}"
        raise DecodeError(
            "too_short", f"{len(info.times)} frames, but {min_frames} are needed within {percent} of its length"
        )
    if cut is not None and not cut.usable:
        raise DecodeError(
            "too_short",
            f"none of its {len(cut.too_short)} windows can be used, the first has {cut.too_short[0].detail}: raise "
            "ingest.window_seconds",
        )
    return InspectedVideo(video, visual_signature(iter_thumbnails(path, info), info.duration_seconds), cut)
