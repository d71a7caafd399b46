"""Lossless frames: PNG files, and a frame store of PNG files for frames that were not decoded from a video."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pyarrow as pa

from videossr.clip import Clip, Pixels
from videossr.errors import SourceError
from videossr.frames.layout import INDEX_NAME, INDEX_SCHEMA, TAR_END, VIDEOS_PER_SHARD, shard_name, to_tar_members
from videossr.storage.atomic import atomic_folder
from videossr.storage.tables import write_table

PNG_SIGNATURE = b"\x89PNG"
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 3]  # a low level, because it is fast


def encode_png(frame: Pixels) -> bytes:
    """Return a frame, uint8 [H, W, 3] RGB, as a PNG file."""
    return bytes(cv2.imencode(".png", frame[..., ::-1], _PNG_OPTIONS)[1])


def decode_png(data: bytes) -> Pixels:
    """Return the frame of a PNG file, uint8 [H, W, 3] RGB. Raises ValueError if `data` is not a PNG file."""
    is_png = data.startswith(PNG_SIGNATURE)
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if is_png else None
    if frame is None:
        raise ValueError("not a PNG file")
    return np.asarray(frame, np.uint8)


def write_clips(clips: Mapping[str, Clip], root: Path) -> None:
    """Write a frame store at `root` that returns these clips bit for bit, by video id. It replaces an earlier store.

    Raises SourceError if the clips have different numbers of frames.
    """
    video_ids = sorted(clips)
    rows: list[dict[str, object]] = []
    num_frames: set[int] = set()
    with atomic_folder(root) as temporary:
        for shard, first in enumerate(range(0, len(video_ids), VIDEOS_PER_SHARD)):
            with (temporary / shard_name(shard)).open("wb") as tar:
                for video_id in video_ids[first : first + VIDEOS_PER_SHARD]:
                    clip = clips[video_id]
                    num_frames.add(len(clip))
                    rows.append(_append_clip(tar, shard, video_id, clip))
                tar.write(TAR_END)
        if len(num_frames) > 1:
            raise SourceError(
                f"each video of a frame store must have as many frames as the others, got {sorted(num_frames)}: "
                "import the videos of each length separately"
            )
        write_table(temporary / INDEX_NAME, pa.Table.from_pylist(rows, INDEX_SCHEMA))


def _append_clip(tar: BinaryIO, shard: int, video_id: str, clip: Clip) -> dict[str, object]:
    """Append the frames of one clip to a shard and return its index row."""
    offset, frames = tar.tell(), [encode_png(frame) for frame in clip.frames]
    tar.write(to_tar_members(video_id, "png", frames))
    height, width = clip.frames.shape[1:3]
    sizes = [len(data) for data in frames]
    row = {"video_id": video_id, "shard": shard, "offset": offset, "sizes": sizes, "height": height, "width": width}
    return {**row, "times": clip.times.tolist()}
