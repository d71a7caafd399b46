"""Four small videos as manifest rows, and the parameters and files of frame stores written from them."""

import hashlib
from pathlib import Path

from tests.support.videos import write_video
from videossr.frames.sampling import FramesParams
from videossr.records import Video

PARAMS = FramesParams(num_frames=12, max_pixels=64 * 96, min_pixels=1024)


def to_manifest_row(path: Path) -> Video:
    """Return the row of a test video. The frames stage uses its id and path only; the other values are fixed."""
    video_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Video(video_id, str(path), "h264", 96, 64, 25.0, 3.2, 80, "train")


def write_four_videos(folder: Path) -> list[Video]:
    """Write videos of 20, 40, 60 and 80 numbered frames."""
    return [to_manifest_row(write_video(folder / f"{n}.mp4", n, options={"crf": "10"})) for n in (20, 40, 60, 80)]


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file in `folder`, by file name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
