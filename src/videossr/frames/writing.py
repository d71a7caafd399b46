"""Writing the frame store: decoded in processes, shard by shard; no video is decoded again that was stored before."""

import errno
import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr.frames.encoding import EncodedVideo, encode_video
from videossr.frames.layout import (
    INDEX_NAME,
    INDEX_SCHEMA,
    ROWS_SCHEMA,
    TAR_END,
    VIDEOS_PER_SHARD,
    members,
    rows_name,
    shard_name,
    skipped_name,
)
from videossr.frames.sampling import FramesParams
from videossr.frames.shard_cache import EarlierShards, ShardEntry, begin, done_shards, finish_shard, forget_others
from videossr.parallel import Failure, Workers, parallel_map
from videossr.records import RejectedFile, Video
from videossr.storage.atomic import atomic_file, atomic_folder, explain_full_disk
from videossr.storage.quarantine import read_quarantine, write_quarantine
from videossr.storage.tables import write_table

_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)

_log = logging.getLogger(__name__)


def write_store(
    videos: Sequence[Video],
    root: Path,
    params: FramesParams,
    workers: Workers,
    work_dir: Path | None = None,
    videos_per_shard: int = VIDEOS_PER_SHARD,
) -> list[RejectedFile]:
    """Decode `params.num_frames` frames of every video into a frame store at `root`; returns what cannot be stored.

    Shards grow in `work_dir` and stay there, linked to the store and not copied: after a kill the same call goes on
    behind the last whole one, and a call with other videos decodes only those that are new. Without a `work_dir` they
    grow beside `root` and go when all is done. The store appears at `root` at once, in place of one that was there.
    Raises StoreError where the disk is full.
    """
    ordered = sorted(videos, key=lambda video: video.video_id)
    groups = [ordered[i : i + videos_per_shard] for i in range(0, len(ordered), videos_per_shard)]
    place = work_dir or root.with_name(root.name + ".work")
    with explain_full_disk(root):
        folder = begin(place, params, groups)
        _write_shards(folder, groups, params, workers)
        rows = _rows(folder, len(groups))
        _publish(folder, root, len(groups), rows.select(INDEX_SCHEMA.names))
        _tell_readers(root, videos, rows.select(["video_id", "reader", "why", "wrong"]))
        rejected = [item for shard in range(len(groups)) for item in read_quarantine(folder / skipped_name(shard))]
        forget_others(folder)
    if work_dir is None:
        shutil.rmtree(place)
    return rejected


def _write_shards(folder: Path, groups: Sequence[Sequence[Video]], params: FramesParams, workers: Workers) -> None:
    done = done_shards(folder, len(groups))
    missing = {shard: group for shard, group in enumerate(groups) if shard not in done}
    earlier = EarlierShards(folder, missing)
    fresh = [video for group in missing.values() for video in group if video.video_id not in earlier]
    total = sum(map(len, groups))
    encoded = parallel_map(partial(encode_video, params=params), fresh, workers, params.limits, _lost)
    progress = iter(tqdm(encoded, total=total, initial=total - len(fresh), desc="frames", unit="video"))
    for shard, group in missing.items():
        _write_shard(folder, shard, _packed(group, earlier, progress))
    next(progress, None)  # all are read: the bar and the processes end


def _packed(
    group: Sequence[Video], earlier: EarlierShards, encoded: Iterator[EncodedVideo | RejectedFile]
) -> Iterator[ShardEntry | RejectedFile]:
    for video in group:
        if video.video_id in earlier:
            yield earlier.packed(video.video_id)
        else:
            result = next(encoded)
            yield result if isinstance(result, RejectedFile) else _pack(video, result)


def _pack(video: Video, encoded: EncodedVideo) -> ShardEntry:
    row = {
        "video_id": video.video_id,
        "sizes": [len(data) for data in encoded.jpegs],
        "height": encoded.size[0],
        "width": encoded.size[1],
        "times": encoded.times,
        **asdict(encoded.reader_choice),
    }
    return ShardEntry(row, members(video.video_id, "jpg", encoded.jpegs))


def _write_shard(folder: Path, shard: int, results: Iterator[ShardEntry | RejectedFile]) -> None:
    rows: list[dict[str, object]] = []
    rejected: list[RejectedFile] = []
    digest = hashlib.sha256()
    # Not written over: a store may be linked to what is there, and its videos are copied from it.
    with atomic_file(folder / shard_name(shard)) as temporary, temporary.open("wb") as tar:
        for result in results:
            if isinstance(result, RejectedFile):
                rejected.append(result)
                continue
            rows.append({**result.row, "shard": shard, "offset": tar.tell()})
            digest.update(result.data)
            tar.write(result.data)
        digest.update(TAR_END)
        tar.write(TAR_END)
    write_quarantine(folder / skipped_name(shard), rejected)
    finish_shard(folder, shard, pa.Table.from_pylist(rows, ROWS_SCHEMA), digest.hexdigest())


def _rows(folder: Path, num_shards: int) -> pa.Table:
    """The rows of all shards."""
    tables = [pq.read_table(folder / rows_name(shard)).replace_schema_metadata() for shard in range(num_shards)]
    return pa.concat_tables([ROWS_SCHEMA.empty_table(), *tables])


def _publish(folder: Path, root: Path, num_shards: int, index: pa.Table) -> None:
    """Make the store at `root` of the shards in `folder`."""
    with atomic_folder(root) as temporary:
        for shard in range(num_shards):
            _link(folder / shard_name(shard), temporary / shard_name(shard))
        write_table(temporary / INDEX_NAME, index)


def _link(shard: Path, target: Path) -> None:
    try:
        os.link(shard, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(shard, target)  # a file system without links


def _tell_readers(root: Path, videos: Sequence[Video], told: pa.Table) -> None:
    """Who read which file and why, beside the store: it says how the frames were come by, not what they are."""
    paths = {video.video_id: video.path for video in videos}
    readers = told.set_column(0, "path", pa.array([paths[name] for name in told["video_id"].to_pylist()], pa.string()))
    write_table(root.with_name(root.name + ".readers.parquet"), readers)
    counts = Counter(readers["reader"].to_pylist())
    _log.info("read by %s", ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "no one")
    for row in readers.to_pylist():
        if row["wrong"]:
            _log.warning("%s: %s was wrong: %s", row["path"], " and ".join(row["wrong"]), row["why"])


def _lost(video: Video, loss: Failure) -> RejectedFile:
    return RejectedFile(video.path, loss.reason, loss.detail)
