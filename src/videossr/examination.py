"""From one file to what ingest says of it: what a process of ingest does, without tables and progress bars."""

import hashlib
from pathlib import Path

from videossr.decode import pictures, probe
from videossr.decode.watch import unchanged
from videossr.errors import DecodeError
from videossr.frames import choose_frames
from videossr.likeness import Likeness, likeness
from videossr.records import Rejected, Video


def examine(path: Path, min_frames: int, span: tuple[float, float]) -> tuple[Video, Likeness] | Rejected:
    """Hash and probe one file; the split is decided later, and the whole hash travels as the id until then."""
    try:
        with unchanged(path), path.open("rb") as file:
            if path.stat().st_size == 0:
                return Rejected(str(path), "not_a_video", "the file is empty")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return _probed(path, digest, min_frames, span)
    except OSError as error:
        return Rejected(str(path), "unreadable", error.strerror or "")
    except DecodeError as error:
        return Rejected(str(path), error.reason, error.detail)


def _probed(path: Path, digest: str, min_frames: int, span: tuple[float, float]) -> tuple[Video, Likeness]:
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
    return video, likeness(pictures(path, probed), probed.duration_seconds)
