"""Read the frame store: one video at a time, found by the index."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from videossr.clip import Clip, FrameNumbers, Pixels, Times
from videossr.errors import StoreError
from videossr.frames.layout import BLOCK, INDEX_NAME, member_lengths, shard_name
from videossr.frames.lossless import PNG_SIGNATURE, decode_png
from videossr.records import FrameTimes


class StoredClip(Clip):
    """A Clip whose frames are decoded when they are asked for, each once.

    Most samples show a third of the stored frames, and decoding a frame costs more than reading it. `files` are the
    image files of all frames; `times` float64 [T], seconds.
    """

    _path: Path
    _video_id: str
    _files: Sequence[bytes]
    _decoded: dict[int, Pixels]

    def __init__(self, path: Path, video_id: str, files: Sequence[bytes], times: Times) -> None:
        # Not by Clip's own constructor, which needs the pixels of all frames; and a Clip is frozen.
        self.__dict__.update(times=times, _path=path, _video_id=video_id, _files=files, _decoded={})

    @property
    def frames(self) -> Pixels:
        """A copy of all frames, uint8 [T, H, W, 3]."""
        return self.frames_at(np.arange(len(self)))

    def frames_at(self, indices: FrameNumbers) -> Pixels:
        """Copies of the frames at `indices` [N]. Raises StoreError if the store is damaged."""
        with _explain_damage(self._path, self._video_id):
            for i in set(indices.tolist()) - self._decoded.keys():
                self._decoded[i] = _decode_frame(self._files[i])
            return np.stack([self._decoded[i] for i in indices.tolist()])


class FrameStore(Mapping[str, Clip]):
    """All stored frames of every video, by video id. It is read-only and can be pickled to other processes.

    `store[video_id]` is a Clip of all stored frames with their presentation times, in seconds after the first frame of
    the video. Its frames are decoded when they are asked for. Raises StoreError if the store is missing or damaged.
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
        self._sizes = _to_matrix(table, "sizes")
        self._times = _to_matrix(table, "times")

    def __getitem__(self, video_id: str) -> Clip:
        row = self._rows[video_id]
        path = self.root / shard_name(self._shards[row])
        with _explain_damage(path, video_id):
            with path.open("rb") as shard:
                files = _read_members(shard, int(self._offsets[row]), self._sizes[row].tolist())
            return StoredClip(path, video_id, files, self._times[row].copy())

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def frame_times(self) -> list[FrameTimes]:
        """Return the frame times of all stored videos, ordered by video id, without reading any frame."""
        return [FrameTimes(video_id, tuple(self._times[row].tolist())) for video_id, row in self._rows.items()]


@contextmanager
def _explain_damage(path: Path, video_id: str) -> Iterator[None]:
    """Raise StoreError for whatever reading or decoding a video raises."""
    try:
        yield
    except (OSError, ValueError) as error:
        root = path.parent
        raise StoreError(
            f"{path} is damaged at video {video_id} ({error}): remove {root} and, if it exists, .dvc/cache/files, and "
            "run again (make run)"
        ) from None


def _decode_frame(data: bytes) -> Pixels:
    """Decode a PNG file (imported frames) or a JPEG file (frames decoded from a video)."""
    return decode_png(data) if data.startswith(PNG_SIGNATURE) else simplejpeg.decode_jpeg(data, "RGB")


def _to_matrix(table: pa.Table, column: str) -> npt.NDArray[Any]:
    """Return a list column as [videos, frames]: every video of a store has the same number of frames."""
    values = table[column].combine_chunks().flatten().to_numpy()
    return values.reshape(table.num_rows, len(values) // max(1, table.num_rows))


def _read_members(shard: BinaryIO, offset: int, sizes: Sequence[int]) -> list[bytes]:
    """Return the files of one video, which are consecutive tar members from `offset` on."""
    shard.seek(offset)
    lengths = member_lengths(sizes)
    data = shard.read(sum(lengths))
    starts = np.cumsum([0, *lengths])
    return [data[start + BLOCK : start + BLOCK + size] for start, size in zip(starts, sizes, strict=False)]
