"""Writing the frame store: decoded in processes, shard by shard, kept over a kill."""

import json
import logging
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr.frames.choice import FramesParams
from videossr.frames.encoding import Encoded, encode_video
from videossr.frames.layout import (
    BLOCK,
    INDEX_SCHEMA,
    READERS_SCHEMA,
    VIDEOS_PER_SHARD,
    readers_name,
    rows_name,
    shard_name,
    skipped_name,
)
from videossr.frames.tables import read_quarantine, told_where_full, write_quarantine, write_table
from videossr.parallel import Loss, Workers, mapped
from videossr.records import Rejected, Video

_STORE = "store"  # what becomes the store lies apart from what is needed to go on after a kill
_INDEX = "index.parquet"
_PLAN = "plan.json"  # without it nothing is gone on with: written last, removed first

_log = logging.getLogger(__name__)


def write_store(
    videos: Sequence[Video],
    root: Path,
    params: FramesParams,
    workers: Workers,
    videos_per_shard: int = VIDEOS_PER_SHARD,
) -> list[Rejected]:
    """Decode `params.num_frames` frames of every video into a frame store at `root`; returns what cannot be stored.

    The store is written beside `root` and renamed when whole; a store that was there before is replaced. After a kill,
    the same call goes on behind the last whole shard.
    """
    ordered = sorted(videos, key=lambda video: video.video_id)
    groups = [ordered[i : i + videos_per_shard] for i in range(0, len(ordered), videos_per_shard)]
    with told_where_full(root):
        return _write_groups(groups, root, params, workers)


def _write_groups(
    groups: Sequence[Sequence[Video]], root: Path, params: FramesParams, workers: Workers
) -> list[Rejected]:
    building = _begin(root, [[(video.video_id, video.path) for video in group] for group in groups], params)
    if not _is_moved(building, root, len(groups)):
        _write_shards(building, groups, params, workers)
        _move(building, root, len(groups))
    rejected = [item for shard in range(len(groups)) for item in read_quarantine(building / skipped_name(shard))]
    _discard(building)
    return rejected


def _write_shards(building: Path, groups: Sequence[Sequence[Video]], params: FramesParams, workers: Workers) -> None:
    (building / _STORE).mkdir(exist_ok=True)
    done = [
        (building / rows_name(n)).exists() and (building / _STORE / shard_name(n)).exists() for n in range(len(groups))
    ]
    left = [video for group, whole in zip(groups, done, strict=True) if not whole for video in group]
    total = sum(map(len, groups))
    encoded = mapped(partial(encode_video, params=params), left, workers, params.limits, _lost)
    progress = iter(tqdm(encoded, total=total, initial=total - len(left), desc="frames", unit="video"))
    for shard, group in enumerate(groups):
        if not done[shard]:
            _write_shard(building, shard, zip(group, progress, strict=False))
    next(progress, None)  # all are read: the bar and the processes end


def _begin(root: Path, groups: Sequence[Sequence[tuple[str, str]]], params: FramesParams) -> Path:
    """The folder to write to; whole shards in it are kept where they belong to the same videos and parameters."""
    plan = json.dumps([asdict(params), groups])
    building = root.with_name(root.name + ".partial")
    plan_path = building / _PLAN
    if not plan_path.exists() or plan_path.read_text(encoding="utf-8") != plan:
        _discard(building)
        building.mkdir(parents=True)
        plan_path.write_text(plan, encoding="utf-8")
    return building


def _discard(building: Path) -> None:
    if building.exists():
        (building / _PLAN).unlink(missing_ok=True)
        shutil.rmtree(building)


def _write_shard(building: Path, shard: int, results: Iterable[tuple[Video, Encoded | Rejected]]) -> None:
    rows: list[dict[str, object]] = []
    rejected: list[Rejected] = []
    readings: list[dict[str, object]] = []
    (building / rows_name(shard)).unlink(missing_ok=True)  # of a shard that was whole, and whose store was cleared away
    with (building / _STORE / shard_name(shard)).open("wb") as tar:
        for video, result in results:
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                rows.append(_append(tar, shard, video, result))
                readings.append({"path": video.path, **asdict(result.reading)})
        tar.write(bytes(2 * BLOCK))  # the end of a tar archive
    write_quarantine(building / skipped_name(shard), rejected)
    write_table(building / readers_name(shard), pa.Table.from_pylist(readings, READERS_SCHEMA))
    # The rows come last: they say that the shard is whole.
    write_table(building / rows_name(shard), pa.Table.from_pylist(rows, INDEX_SCHEMA))


def _index(building: Path, num_shards: int) -> pa.Table:
    tables = [pq.read_table(building / rows_name(shard)) for shard in range(num_shards)]
    return pa.concat_tables([INDEX_SCHEMA.empty_table(), *tables])


def _move(building: Path, root: Path, num_shards: int) -> None:
    write_table(building / _STORE / _INDEX, _index(building, num_shards))
    _tell_readers(building, root, num_shards)
    if root.exists():
        shutil.rmtree(root)
    (building / _STORE).replace(root)


def _is_moved(building: Path, root: Path, num_shards: int) -> bool:
    """Whether a run that was killed had come as far as `root`, and what it left there is still whole."""
    if (building / _STORE).exists() or not (root / _INDEX).exists():
        return False
    whole = all((building / rows_name(n)).exists() and (root / shard_name(n)).exists() for n in range(num_shards))
    return whole and pq.read_table(root / _INDEX).equals(_index(building, num_shards))


def _tell_readers(building: Path, root: Path, num_shards: int) -> None:
    """Who read which file and why, beside the store: it says how the frames were come by, not what they are."""
    tables = [pq.read_table(building / readers_name(shard)) for shard in range(num_shards)]
    readers = pa.concat_tables([READERS_SCHEMA.empty_table(), *tables])
    write_table(root.with_name(root.name + ".readers.parquet"), readers)
    counts = Counter(readers["reader"].to_pylist())
    _log.info("read by %s", ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "no one")
    for row in readers.to_pylist():
        if row["wrong"]:
            _log.warning("%s: %s was wrong: %s", row["path"], " and ".join(row["wrong"]), row["why"])


def _append(shard: BinaryIO, number: int, video: Video, encoded: Encoded) -> dict[str, object]:
    offset = shard.tell()
    for i, data in enumerate(encoded.jpegs):
        header = tarfile.TarInfo(f"{video.video_id}.{i:03d}.jpg")
        header.size = len(data)
        shard.write(header.tobuf(tarfile.USTAR_FORMAT))
        shard.write(data + bytes(-len(data) % BLOCK))
    return {
        "video_id": video.video_id,
        "shard": number,
        "offset": offset,
        "sizes": [len(data) for data in encoded.jpegs],
        "height": encoded.size[0],
        "width": encoded.size[1],
        "times": encoded.times,
    }


def _lost(video: Video, loss: Loss) -> Rejected:
    return Rejected(video.path, loss.reason, loss.detail)
