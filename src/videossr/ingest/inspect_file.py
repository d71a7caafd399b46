"""From one file to what ingest says of it: what a process of ingest does, without tables and progress bars."""

import hashlib
from pathlib import Path

from videossr.decode import iter_thumbnails, probe
from videossr.decode.file_guard import require_unchanged
from videossr.errors import DecodeError
from videossr.frames.sampling import choose_frames
from videossr.ingest.signature import VisualSignature, visual_signature
from videossr.records import RejectedFile, Video


def examine(path: Path, min_frames: int, span: tuple[float, float]) -> tuple[Video, VisualSignature] | RejectedFile:
    """Hash and probe one file; the split is decided later, and the whole hash travels as the id until then."""
    try:
        with require_unchanged(path), path.open("rb") as file:
            if path.stat().st_size == 0:
                return RejectedFile(str(path), "not_a_video", "the file is empty")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return _probed(path, digest, min_frames, span)
    except OSError as error:
        return RejectedFile(str(path), "unreadable", error.strerror or "")
    except DecodeError as error:
        return RejectedFile(str(path), error.reason, error.detail)


def _probed(path: Path, digest: str, min_frames: int, span: tuple[float, float]) -> tuple[Video, VisualSignature]:
    probed = probe(path)
    num_frames = len(probed.times)
    if choose_frames(probed.times, min_frames, span) is None:
        within = f"{span[0]:.0%} to {span[1]:.0%}"
        raise DecodeError(
            "too_short", f"{num_frames} frames, but {min_frames} are needed within {within} of its length"
        )
    video = Video(
        video_id=digest,
        path=str(path),
        codec=probed.codec,
        width=probed.width,
        height=probed.height,
        fps=probed.fps,
        duration_seconds=probed.duration_seconds,
        num_frames=num_frames,
        split="train",
    )
    return video, visual_signature(iter_thumbnails(path, probed), probed.duration_seconds)
