"""The frame store: evenly spaced frames of every video at model size, in tar shards with an index, read-only.

On disk: `index.parquet` (one row a video), `shard-00000.tar` ... (JPEG, quality 95, full chroma: the frames are small,
and half the chroma costs 3 dB), `skipped.parquet` (videos that could not be stored, with the reason). The bytes depend
on the videos and `FramesParams` alone, never on the number of workers.
"""

import hashlib
import json
import math
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from tqdm import tqdm

from videossr.decode import Clip, Decoder, Times, decode, probe
from videossr.errors import ConfigError, DecodeError, StoreError
from videossr.parallel import in_processes
from videossr.records import Footage, Rejected, Video

__all__ = [
    "Clip",
    "FrameStore",
    "FramesParams",
    "choose_frames",
    "fitted_size",
    "read_quarantine",
    "write_quarantine",
    "write_store",
    "write_table",
]

SIZE_FACTOR = 32  # patch 16 merged 2x2 in Qwen3-VL: sides are multiples of it
VIDEOS_PER_SHARD = 256
_JPEG_QUALITY = 95
_BLOCK = tarfile.BLOCKSIZE

_INDEX_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("sizes", pa.list_(pa.int32())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("times", pa.list_(pa.float64())),
    ]
)
_QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True)
class FramesParams:
    """Which frames are kept, and how large (paper section 4.1: 48 frames of the middle 90 %, at most 256x256)."""

    num_frames: int = 48
    span: tuple[float, float] = (0.05, 0.95)
    max_pixels: int = 65536
    min_pixels: int = 16384
    decoder: Decoder = "auto"

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ConfigError(f"num_frames must be at least 2, got {self.num_frames}")
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise ConfigError(f"span must be two rising fractions of the video within 0..1, got {self.span}")
        if not SIZE_FACTOR**2 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"{SIZE_FACTOR**2} <= min_pixels <= max_pixels must hold, got {self.min_pixels} and {self.max_pixels}"
            )


def choose_frames(times: Times, num_frames: int, span: tuple[float, float]) -> npt.NDArray[np.intp] | None:
    """Indices of `num_frames` distinct frames, evenly spaced in time over `span` of the clock `times` (seconds, [N]).

    None where the span holds fewer frames. Where a gap in the clock leaves several targets to one frame, neighbours
    are taken, so that every frame is another one.
    """
    start, stop = times[0] + np.array(span) * (times[-1] - times[0])
    first, end = np.searchsorted(times, [start - 1e-9, stop + 1e-9])
    if end - first < num_frames:
        return None
    usable = times[first:end]
    targets = np.linspace(start, stop, num_frames)
    right = np.clip(np.searchsorted(usable, targets), 1, len(usable) - 1)
    nearest = right - (targets - usable[right - 1] <= usable[right] - targets)
    steps = np.arange(num_frames)
    rising = np.maximum.accumulate(nearest - steps) + steps
    return first + np.minimum(rising, len(usable) - num_frames + steps)


def fitted_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width) in multiples of 32 within the pixel bounds, aspect kept as well as rounding allows.

    The rounding is that of Qwen's `smart_resize` with factor 32, so that the model's processor changes nothing more.
    Differs: a strip too long for the bounds is squeezed, not refused.
    """
    longest = max_pixels // SIZE_FACTOR // SIZE_FACTOR * SIZE_FACTOR
    rounded = [max(SIZE_FACTOR, round(side / SIZE_FACTOR) * SIZE_FACTOR) for side in (height, width)]
    if rounded[0] * rounded[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rounded = [math.floor(side / shrink / SIZE_FACTOR) * SIZE_FACTOR for side in (height, width)]
    elif rounded[0] * rounded[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rounded = [math.ceil(side * grow / SIZE_FACTOR) * SIZE_FACTOR for side in (height, width)]
    return max(SIZE_FACTOR, min(rounded[0], longest)), max(SIZE_FACTOR, min(rounded[1], longest))


def write_quarantine(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write one parquet row a file that cannot be used: path, reason, detail."""
    write_table(path, pa.Table.from_pylist([asdict(item) for item in rejected], _QUARANTINE_SCHEMA))


def read_quarantine(path: Path) -> list[Rejected]:
    """The rows of a quarantine. Raises StoreError where there is none."""
    try:
        return [Rejected(**row) for row in pq.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise StoreError(f"no quarantine at {path}: run the ingest stage") from None


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    pq.write_table(table, unfinished)
    unfinished.replace(path)


class FrameStore(Mapping[str, Clip]):
    """All stored frames of every video, by video id; read-only, and safe to hand to other processes.

    `store[video_id]` is a Clip of all stored frames with their presentation times in seconds after the video's first
    frame. Memory of a read is that of one video. Raises StoreError where the store is missing or damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            table = pq.read_table(root / "index.parquet").sort_by("video_id")
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise StoreError(f"no frame store at {root} ({error}): run the frames stage") from None
        self._rows = {video_id: row for row, video_id in enumerate(table["video_id"].to_pylist())}
        self._shards = table["shard"].to_numpy()
        self._offsets = table["offset"].to_numpy()
        self._sizes = _matrix(table, "sizes")
        self._times = _matrix(table, "times")

    def __getitem__(self, video_id: str) -> Clip:
        row = self._rows[video_id]
        path = self.root / _shard_name(self._shards[row])
        try:
            with path.open("rb") as shard:
                members = _members(shard, int(self._offsets[row]), self._sizes[row].tolist())
                frames = [simplejpeg.decode_jpeg(data, "RGB") for data in members]
            return Clip(np.stack(frames), self._times[row].copy())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged at video {video_id} ({error}): run the frames stage again") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def footage(self) -> list[Footage]:
        """Names and clocks of all stored videos, ordered by video id; no frame is read."""
        return [Footage(video_id, tuple(self._times[row].tolist())) for video_id, row in self._rows.items()]


def _matrix(table: pa.Table, column: str) -> npt.NDArray[Any]:
    """A list column as [videos, frames]: every video of a store has the same number of frames."""
    values = table[column].combine_chunks().flatten().to_numpy()
    return values.reshape(table.num_rows, len(values) // max(1, table.num_rows))


def _shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.tar"


def _rows_name(shard: int) -> str:
    return f"shard-{shard:05d}.rows.parquet"


def _skipped_name(shard: int) -> str:
    return f"shard-{shard:05d}.skipped.parquet"


def _members(shard: BinaryIO, offset: int, sizes: Sequence[int]) -> Iterator[bytes]:
    """The files of one video, which lie one after another, each behind its tar header."""
    shard.seek(offset)
    strides = [_BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes]
    data = shard.read(sum(strides))
    starts = np.cumsum([0, *strides])
    return (data[start + _BLOCK : start + _BLOCK + size] for start, size in zip(starts, sizes, strict=False))


@dataclass(frozen=True)
class _Encoded:
    size: tuple[int, int]
    times: list[float]
    jpegs: list[bytes]


def write_store(
    videos: Sequence[Video], root: Path, params: FramesParams, workers: int, videos_per_shard: int = VIDEOS_PER_SHARD
) -> list[Rejected]:
    """Decode `params.num_frames` frames of every video into a frame store at `root`; returns what was skipped.

    The store is written beside `root` and renamed when whole; a store that was there before is replaced. After a kill,
    the same call goes on behind the last whole shard.
    """
    ordered = sorted(videos, key=lambda video: video.video_id)
    groups = [ordered[i : i + videos_per_shard] for i in range(0, len(ordered), videos_per_shard)]
    building = _begin(root, [[(video.video_id, video.path) for video in group] for group in groups], params)
    done = [(building / _rows_name(shard)).exists() for shard in range(len(groups))]
    left = [video for group, whole in zip(groups, done, strict=True) if not whole for video in group]
    encoded = in_processes(partial(_encode_video, params=params), left, workers, on_death=_crashed)
    progress = iter(tqdm(encoded, total=len(ordered), initial=len(ordered) - len(left), desc="frames", unit="video"))
    for shard, group in enumerate(groups):
        if not done[shard]:
            _write_shard(building, shard, zip(group, progress, strict=False))
    next(progress, None)  # all are read: the bar and the processes end
    return _finish(building, root, len(groups))


def _begin(root: Path, groups: Sequence[Sequence[tuple[str, str]]], params: FramesParams) -> Path:
    """The folder to write to; whole shards in it are kept where they belong to the same videos and parameters."""
    plan = json.dumps([asdict(params), groups])
    building = root.with_name(root.name + ".partial")
    plan_path = building / "plan.json"
    if not plan_path.exists() or plan_path.read_text(encoding="utf-8") != plan:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        plan_path.write_text(plan, encoding="utf-8")
    return building


def _write_shard(building: Path, shard: int, results: Iterable[tuple[Video, _Encoded | Rejected]]) -> None:
    rows: list[dict[str, object]] = []
    rejected: list[Rejected] = []
    with (building / _shard_name(shard)).open("wb") as tar:
        for video, result in results:
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                rows.append(_append(tar, shard, video, result))
        tar.write(bytes(2 * _BLOCK))  # the end of a tar archive
    write_quarantine(building / _skipped_name(shard), rejected)
    # The rows come last: they say that the shard is whole.
    write_table(building / _rows_name(shard), pa.Table.from_pylist(rows, _INDEX_SCHEMA))


def _finish(building: Path, root: Path, num_shards: int) -> list[Rejected]:
    tables = [pq.read_table(building / _rows_name(shard)) for shard in range(num_shards)]
    write_table(building / "index.parquet", pa.concat_tables([_INDEX_SCHEMA.empty_table(), *tables]))
    rejected = [item for shard in range(num_shards) for item in read_quarantine(building / _skipped_name(shard))]
    write_quarantine(building / "skipped.parquet", rejected)
    for name in ("plan.json", *(f(shard) for shard in range(num_shards) for f in (_rows_name, _skipped_name))):
        (building / name).unlink()
    if root.exists():
        shutil.rmtree(root)
    building.replace(root)
    return rejected


def _append(shard: BinaryIO, number: int, video: Video, encoded: _Encoded) -> dict[str, object]:
    offset = shard.tell()
    for i, data in enumerate(encoded.jpegs):
        header = tarfile.TarInfo(f"{video.video_id}.{i:03d}.jpg")
        header.size = len(data)
        shard.write(header.tobuf(tarfile.USTAR_FORMAT))
        shard.write(data + bytes(-len(data) % _BLOCK))
    return {
        "video_id": video.video_id,
        "shard": number,
        "offset": offset,
        "sizes": [len(data) for data in encoded.jpegs],
        "height": encoded.size[0],
        "width": encoded.size[1],
        "times": encoded.times,
    }


def _encode_video(video: Video, params: FramesParams) -> _Encoded | Rejected:
    try:
        return _encode(video, params)
    except DecodeError as error:
        return Rejected(video.path, error.reason, error.detail)


def _crashed(video: Video) -> Rejected:
    return Rejected(video.path, "crashed_decoder", "the process that decoded it died")


def _encode(video: Video, params: FramesParams) -> _Encoded:
    path = Path(video.path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DecodeError("unreadable", error.strerror or "") from None
    if not digest.startswith(video.video_id):
        raise DecodeError("changed_while_read", "its bytes are no longer those that ingest saw: run ingest again")
    probed = probe(path)
    index = choose_frames(probed.times, params.num_frames, params.span)
    if index is None:
        raise DecodeError("too_short", f"{params.num_frames} frames are needed within {params.span}")
    size = fitted_size(probed.height, probed.width, params.min_pixels, params.max_pixels)
    clip = decode(path, probed.times[index], size=size, decoder=params.decoder, probed=probed)
    jpegs = [
        simplejpeg.encode_jpeg(frame, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
        for frame in clip.frames
    ]
    return _Encoded(size, clip.times.tolist(), jpegs)
