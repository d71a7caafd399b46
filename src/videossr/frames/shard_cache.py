"""Shards of earlier builds, kept in a work folder, so that each video is decoded once.

A build is one set of videos written with one set of settings: parameters, code and library versions. A build that was
killed continues after its last finished shard. A build of other videos copies the videos that earlier builds stored.
Only builds with the same settings are used, and each shard is checked against its SHA-256 before it is used. A shard
with a file that was rejected for a transient reason is written again.

    <work_dir>/<hash of the build>/settings.json
                                   shard-00000.tar, shard-00000.rows.parquet, shard-00000.rejected.parquet, ...
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr.errors import StoreError
from videossr.frames.layout import member_lengths, rejected_name, rows_name, shard_name
from videossr.frames.sampling import FramesParams
from videossr.parallel import Limits
from videossr.records import TRANSIENT_REASONS, Video
from videossr.storage.atomic import write_text
from videossr.storage.fingerprint import code_fingerprint
from videossr.storage.quarantine import read_quarantine
from videossr.storage.tables import write_table

# All code and libraries on which the bytes of a shard depend.
CODE = ("clip.py", "decode/*.py", "frames/*.py", "records.py", "storage/*.py")
LIBRARIES = ("av", "decord", "numpy", "opencv-python-headless")
_SETTINGS_NAME = "settings.json"
_ALL_ROWS = "*.rows.parquet"
_SHA256 = b"sha256"


@dataclass(frozen=True)
class ShardEntry:
    """One stored video: its row of `ROWS_SCHEMA` without shard and offset, and its tar members."""

    row: Mapping[str, Any]
    data: bytes


def open_build(work_dir: Path, params: FramesParams, groups: Sequence[Sequence[Video]]) -> Path:
    """Return the folder of the build of `groups` (the videos of each shard), which may hold shards already.

    Builds with other settings are removed.
    """
    # Without the limits: they decide which videos are rejected, and do not change the frames of a stored video.
    settings = json.dumps({**asdict(replace(params, limits=Limits())), "version": code_fingerprint(CODE, LIBRARIES)})
    for folder in _list_builds(work_dir):
        path = folder / _SETTINGS_NAME
        if not path.exists() or path.read_bytes() != settings.encode():
            shutil.rmtree(folder)
    videos = [
        [(video.video_id, video.path, *_split_of_size(params, video.split)) for video in group] for group in groups
    ]
    build = [settings, asdict(params.limits), videos]
    folder = work_dir / hashlib.sha256(json.dumps(build).encode()).hexdigest()[:16]
    write_text(folder / _SETTINGS_NAME, settings)
    return folder


def _split_of_size(params: FramesParams, split: str) -> tuple[str, ...]:
    """The split of a video where its stored size depends on it; else nothing."""
    return () if params.bench_max_pixels is None else (split,)


def remove_other_builds(folder: Path) -> None:
    for other in _list_builds(folder.parent):
        if other != folder:
            shutil.rmtree(other)


def _list_builds(work_dir: Path) -> list[Path]:
    return sorted(path for path in work_dir.iterdir() if path.is_dir()) if work_dir.is_dir() else []


def write_shard_rows(folder: Path, shard: int, rows: pa.Table, sha256: str) -> None:
    """Write the rows of a shard with the SHA-256 of its tar file. Their existence marks the shard as finished."""
    write_table(folder / rows_name(shard), rows.replace_schema_metadata({_SHA256: sha256}))


def find_finished_shards(folder: Path, num_shards: int) -> set[int]:
    """Return the shards in `folder` that are intact and have no file that was rejected for a transient reason."""
    with_rows = [shard for shard in range(num_shards) if (folder / rows_name(shard)).exists()]
    return {
        shard
        for shard in _with_progress(with_rows)
        if _has_only_final_rejections(folder, shard) and _is_intact(folder, shard)
    }


def _has_only_final_rejections(folder: Path, shard: int) -> bool:
    try:
        rejected = read_quarantine(folder / rejected_name(shard))
    except (StoreError, pa.ArrowInvalid):  # the table is missing or damaged
        return False
    return not any(item.reason in TRANSIENT_REASONS for item in rejected)


def _with_progress(shards: Sequence[Any]) -> Iterable[Any]:
    return tqdm(shards, desc="checking shards", unit="shard", disable=not shards)


def _is_intact(folder: Path, shard: int) -> bool:
    path = folder / shard_name(shard)
    if not path.exists():
        return False
    try:
        expected = pq.read_schema(folder / rows_name(shard)).metadata[_SHA256].decode()
    except pa.ArrowInvalid:  # for example an empty file: a power loss may keep the name of a file and lose its bytes
        return False
    with path.open("rb") as tar:
        return hashlib.file_digest(tar, "sha256").hexdigest() == expected


class EarlierShards:
    """Videos that can be copied from intact shards: of other builds, and of the shards of `folder` to write again.

    `missing` maps each shard to write to its videos. Only the ids of these videos are kept in memory. A video that
    moved to the other split is not copied where its size depends on the split.
    """

    def __init__(self, folder: Path, missing: Mapping[int, Sequence[Video]], params: FramesParams) -> None:
        wanted = {
            (video.video_id, *_split_of_size(params, video.split)) for group in missing.values() for video in group
        }
        own = [folder / rows_name(shard) for shard in missing]
        other_builds = [other for other in _list_builds(folder.parent) if other != folder]
        others = [path for other in other_builds for path in sorted(other.glob(_ALL_ROWS))]
        self._shard_of_video: dict[str, tuple[Path, int]] = {}
        self._read_rows = lru_cache(maxsize=4)(_read_rows)  # few, because videos are read in the order of the shards
        for path in _with_progress([*others, *(path for path in own if path.exists())]):
            shard = int(path.name.split(".")[0].removeprefix("shard-"))
            if _is_intact(path.parent, shard):
                stored = pq.read_table(path, columns=["video_id", "split"]).to_pylist()
                self._shard_of_video |= {
                    row["video_id"]: (path.parent, shard)
                    for row in stored
                    if (row["video_id"], *_split_of_size(params, row["split"])) in wanted
                }

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._shard_of_video

    def read_entry(self, video_id: str) -> ShardEntry:
        folder, shard = self._shard_of_video[video_id]
        row = self._read_rows(folder, shard)[video_id]
        with (folder / shard_name(shard)).open("rb") as tar:
            tar.seek(row["offset"])
            return ShardEntry(row, tar.read(sum(member_lengths(row["sizes"]))))


def _read_rows(folder: Path, shard: int) -> Mapping[str, Mapping[str, Any]]:
    """Return the rows of a shard by video id."""
    return {row["video_id"]: row for row in pq.read_table(folder / rows_name(shard)).to_pylist()}
