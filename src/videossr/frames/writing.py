"""Write the frame store shard by shard. Worker processes decode the videos; videos stored before are copied."""

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
    rejected_name,
    rows_name,
    shard_name,
    to_tar_members,
)
from videossr.frames.sampling import FramesParams
from videossr.frames.shard_cache import (
    EarlierShards,
    ShardEntry,
    find_finished_shards,
    open_build,
    remove_other_builds,
    write_shard_rows,
)
from videossr.parallel import Failure, Workers, parallel_map
from videossr.records import RejectedFile, Video
from videossr.storage.atomic import atomic_file, atomic_folder, explain_full_disk
from videossr.storage.quarantine import read_quarantine, write_quarantine
from videossr.storage.tables import write_table

# Errors of a file system that cannot make this hard link.
_NO_HARD_LINK = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)

_log = logging.getLogger(__name__)


def write_store(
    videos: Sequence[Video],
    root: Path,
    params: FramesParams,
    workers: Workers,
    work_dir: Path | None = None,
    videos_per_shard: int = VIDEOS_PER_SHARD,
) -> list[RejectedFile]:
    """Store `params.num_frames` frames of every video in a frame store at `root`; return the files that were rejected.

    Shards are written to `work_dir`, stay there and are hard-linked into the store. After a kill, the same call
    continues after the last finished shard; a call with other videos decodes only the new ones. Without `work_dir`, the
    shards are written beside `root` and removed at the end. The store appears at `root` in one step and replaces an
    earlier one. `<root>.readers.parquet` lists the reader of each file. Raises StoreError if the disk is full.
    """
    ordered = sorted(videos, key=lambda video: video.video_id)
    groups = [ordered[i : i + videos_per_shard] for i in range(0, len(ordered), videos_per_shard)]
    builds = work_dir or root.with_name(root.name + ".work")
    with explain_full_disk(root):
        folder = open_build(builds, params, groups)
        _write_shards(folder, groups, params, workers)
        rows = _read_all_rows(folder, len(groups))
        _assemble_store(folder, root, len(groups), rows.select(INDEX_SCHEMA.names))
        _write_reader_choices(root, videos, rows.select(["video_id", "reader", "why", "wrong", "damaged", "replaced"]))
        rejected = [item for shard in range(len(groups)) for item in read_quarantine(folder / rejected_name(shard))]
        remove_other_builds(folder)
    if work_dir is None:
        shutil.rmtree(builds)
    return rejected


def _write_shards(folder: Path, groups: Sequence[Sequence[Video]], params: FramesParams, workers: Workers) -> None:
    finished = find_finished_shards(folder, len(groups))
    missing = {shard: group for shard, group in enumerate(groups) if shard not in finished}
    earlier = EarlierShards(folder, missing, params)
    to_decode = [video for group in missing.values() for video in group if video.video_id not in earlier]
    total = sum(map(len, groups))
    encode = partial(encode_video, params=params)
    encoded = parallel_map(encode, to_decode, workers, params.limits, _reject_after_failure)
    progress = iter(tqdm(encoded, total=total, initial=total - len(to_decode), desc="frames", unit="video"))
    for shard, group in missing.items():
        _write_shard(folder, shard, _iter_entries(group, earlier, progress))
    next(progress, None)  # no video is left: this call closes the progress bar and ends the worker processes


def _iter_entries(
    group: Sequence[Video], earlier: EarlierShards, encoded: Iterator[EncodedVideo | RejectedFile]
) -> Iterator[ShardEntry | RejectedFile]:
    """Yield each video of a shard: copied from an earlier shard, else the next of `encoded`."""
    for video in group:
        if video.video_id in earlier:
            yield earlier.read_entry(video.video_id)
        else:
            result = next(encoded)
            yield result if isinstance(result, RejectedFile) else _to_entry(video, result)


def _to_entry(video: Video, encoded: EncodedVideo) -> ShardEntry:
    row = {
        "video_id": video.video_id,
        "sizes": [len(data) for data in encoded.jpegs],
        "height": encoded.size[0],
        "width": encoded.size[1],
        "times": encoded.times,
        "split": video.split,
        **asdict(encoded.reader_choice),
        "damaged": encoded.damaged,
        "replaced": encoded.replaced,
    }
    return ShardEntry(row, to_tar_members(video.video_id, "jpg", encoded.jpegs))


def _write_shard(folder: Path, shard: int, results: Iterator[ShardEntry | RejectedFile]) -> None:
    rows: list[dict[str, object]] = []
    rejected: list[RejectedFile] = []
    digest = hashlib.sha256()
    # A new file, not an overwrite: a store may be linked to the earlier shard, and its videos are copied from it.
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
    write_quarantine(folder / rejected_name(shard), rejected)
    write_shard_rows(folder, shard, pa.Table.from_pylist(rows, ROWS_SCHEMA), digest.hexdigest())


def _read_all_rows(folder: Path, num_shards: int) -> pa.Table:
    # Without the metadata: it is the SHA-256 of one shard.
    tables = [pq.read_table(folder / rows_name(shard)).replace_schema_metadata() for shard in range(num_shards)]
    return pa.concat_tables([ROWS_SCHEMA.empty_table(), *tables])


def _assemble_store(folder: Path, root: Path, num_shards: int, index: pa.Table) -> None:
    with atomic_folder(root) as temporary:
        for shard in range(num_shards):
            _link_or_copy(folder / shard_name(shard), temporary / shard_name(shard))
        write_table(temporary / INDEX_NAME, index)


def _link_or_copy(shard: Path, target: Path) -> None:
    try:
        os.link(shard, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        shutil.copyfile(shard, target)


def _write_reader_choices(root: Path, videos: Sequence[Video], choices: pa.Table) -> None:
    """Write and log which decoder read each file, and why, and how many of its frames are damaged.

    The table is beside the store and not in it, because the bytes of the store must depend on the frames alone.
    """
    paths = {video.video_id: video.name for video in videos}
    path_column = pa.array([paths[video_id] for video_id in choices["video_id"].to_pylist()], pa.string())
    choices = choices.set_column(0, "path", path_column)
    write_table(root.with_name(root.name + ".readers.parquet"), choices)
    counts = Counter(choices["reader"].to_pylist())
    _log.info(
        "videos per reader: %s", ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "none"
    )
    for row in choices.to_pylist():
        if row["wrong"]:
            _log.warning("%s: %s returned wrong frames: %s", row["path"], " and ".join(row["wrong"]), row["why"])
        if row["replaced"]:
            _log.warning(
                "%s: %d stored frames replace damaged ones (%d frames of the file are damaged)",
                *(row["path"], row["replaced"], row["damaged"]),
            )


def _reject_after_failure(video: Video, failure: Failure) -> RejectedFile:
    return RejectedFile(video.name, failure.reason, failure.detail)
