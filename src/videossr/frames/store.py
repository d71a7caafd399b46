"""Reading the frame store: one video at a time, by the index."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from videossr.clip import Clip
from videossr.errors import StoreError
from videossr.frames.layout import BLOCK, INDEX_NAME, shard_name, strides
from videossr.frames.lossless import PNG, decode_png
from videossr.records import FrameTimes


class FrameStore(Mapping[str, Clip]):
    """All stored frames of every video, by video id; read-only, and safe to hand to other processes.

    `store[video_id]` is a Clip of all stored frames with their presentation times in seconds after the video's first
    frame. Memory of a read is that of one video. Raises StoreError where the store is missing or damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            table = pq.read_table(root / INDEX_NAME).sort_by("video_id")
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise StoreError(f"no frame store at {root} ({error}): run the frames stage (make run)") from None
        self._rows = {video_id: row for row, video_id in enumerate(table["video_id"].to_pylist())}
        self._shards = table["shard"].to_numpy()
        self._offsets = table["offset"].to_numpy()
        self._sizes = _matrix(table, "sizes")
        self._times = _matrix(table, "times")

    def __getitem__(self, video_id: str) -> Clip:
        row = self._rows[video_id]
        path = self.root / shard_name(self._shards[row])
        try:
            with path.open("rb") as shard:
                members = _members(shard, int(self._offsets[row]), self._sizes[row].tolist())
                frames = [_decoded(data) for data in members]
            return Clip(np.stack(frames), self._times[row].copy())
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path} is damaged at video {video_id} ({error}): remove {self.root} and, where DVC keeps it, "
                ".dvc/cache/files, and run again (make run)"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def frame_times(self) -> list[FrameTimes]:
        """Names and clocks of all stored videos, ordered by video id; no frame is read."""
        return [FrameTimes(video_id, tuple(self._times[row].tolist())) for video_id, row in self._rows.items()]


def _decoded(data: bytes) -> npt.NDArray[np.uint8]:
    """Frames of a video are stored as JPEG, frames that were imported as PNG."""
    return decode_png(data) if data.startswith(PNG) else simplejpeg.decode_jpeg(data, "RGB")


def _matrix(table: pa.Table, column: str) -> npt.NDArray[Any]:
    """A list column as [videos, frames]: every video of a store has the same number of frames."""
    values = table[column].combine_chunks().flatten().to_numpy()
    return values.reshape(table.num_rows, len(values) // max(1, table.num_rows))


def _members(shard: BinaryIO, offset: int, sizes: Sequence[int]) -> Iterator[bytes]:
    """The files of one video, which lie one after another, each behind its tar header."""
    shard.seek(offset)
    taken = strides(sizes)
    data = shard.read(sum(taken))
    starts = np.cumsum([0, *taken])
    return (data[start + BLOCK : start + BLOCK + size] for start, size in zip(starts, sizes, strict=False))
