"""Frames kept bit for bit: PNG, and a frame store of it for frames that come from elsewhere than a video."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from videossr.clip import Clip
from videossr.errors import SourceError
from videossr.frames.layout import INDEX_NAME, INDEX_SCHEMA, TAR_END, VIDEOS_PER_SHARD, members, shard_name
from videossr.storage.atomic import atomic_folder
from videossr.storage.tables import write_table

PNG = b"\x89PNG"
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 3]


def encode_png(frame: npt.NDArray[np.uint8]) -> bytes:
    """A frame uint8 [H,W,3] RGB as a PNG file."""
    return bytes(cv2.imencode(".png", frame[..., ::-1], _FAST)[1])


def decode_png(data: bytes) -> npt.NDArray[np.uint8]:
    """The frame uint8 [H,W,3] RGB of a PNG file; raises ValueError where it is none."""
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data.startswith(PNG) else None
    if frame is None:
        raise ValueError("not a PNG file")
    return np.asarray(frame, np.uint8)


def write_clips(clips: Mapping[str, Clip], root: Path) -> None:
    """Write a frame store at `root` that returns these clips bit for bit; one that was there before is replaced.

    Raises SourceError where clips have different numbers of frames.
    """
    names = sorted(clips)
    rows: list[dict[str, object]] = []
    num_frames: set[int] = set()
    with atomic_folder(root) as temporary:
        for shard, first in enumerate(range(0, len(names), VIDEOS_PER_SHARD)):
            with (temporary / shard_name(shard)).open("wb") as tar:
                for video_id in names[first : first + VIDEOS_PER_SHARD]:
                    clip = clips[video_id]
                    num_frames.add(len(clip))
                    rows.append(_append(tar, shard, video_id, clip))
                tar.write(TAR_END)
        if len(num_frames) > 1:
            raise SourceError("all videos of a frame store must have as many frames: import them apart")
        write_table(temporary / INDEX_NAME, pa.Table.from_pylist(rows, INDEX_SCHEMA))


def _append(tar: BinaryIO, shard: int, video_id: str, clip: Clip) -> dict[str, object]:
    offset, frames = tar.tell(), [encode_png(frame) for frame in clip.frames]
    tar.write(members(video_id, "png", frames))
    height, width = clip.frames.shape[1:3]
    sizes = [len(data) for data in frames]
    row = {"video_id": video_id, "shard": shard, "offset": offset, "sizes": sizes, "height": height, "width": width}
    return {**row, "times": clip.times.tolist()}
