"""Shards that earlier runs wrote, kept outside the graph.

A run that was killed goes on behind its last whole shard. A run over other videos copies those that it has stored
before: they are decoded once, whatever joins or leaves the source. Everything kept is of one recipe (parameters, code,
libraries), and checked against its SHA-256 before it is used. A refusal that may end otherwise is not kept.

    <work_dir>/<hash of the plan>/recipe.json, shard-00000.tar, shard-00000.rows.parquet, shard-00000.skipped.parquet
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
from videossr.frames.layout import rows_name, shard_name, skipped_name, strides
from videossr.frames.sampling import FramesParams
from videossr.parallel import Limits
from videossr.records import TRANSIENT_REASONS, Video
from videossr.storage.atomic import write_text
from videossr.storage.fingerprint import code_fingerprint
from videossr.storage.quarantine import read_quarantine
from videossr.storage.tables import write_table

CODE = ("clip.py", "decode/*.py", "frames/*.py", "records.py", "storage/*.py")
_LIBRARIES = ("av", "decord", "numpy", "opencv-python-headless")
_RECIPE = "recipe.json"
_ROWS = "*.rows.parquet"
_SHA256 = b"sha256"


@dataclass(frozen=True)
class ShardEntry:
    """A stored video: its row of `ROWS_SCHEMA` without its place, and its members of the archive."""

    row: Mapping[str, Any]
    data: bytes


def begin(work_dir: Path, params: FramesParams, groups: Sequence[Sequence[Video]]) -> Path:
    """The folder of this plan, which may hold shards already; what was made by another recipe is removed."""
    # A stored video stays what it is under other limits: these decide only what is refused.
    recipe = json.dumps({**asdict(replace(params, limits=Limits())), "version": code_fingerprint(CODE, _LIBRARIES)})
    for folder in _folders(work_dir):
        if not (folder / _RECIPE).exists() or (folder / _RECIPE).read_bytes() != recipe.encode():
            shutil.rmtree(folder)
    plan = [recipe, asdict(params.limits), [[(video.video_id, video.path) for video in group] for group in groups]]
    folder = work_dir / hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]
    write_text(folder / _RECIPE, recipe)
    return folder


def forget_others(folder: Path) -> None:
    """Remove what belongs to other plans."""
    for other in _folders(folder.parent):
        if other != folder:
            shutil.rmtree(other)


def _folders(work_dir: Path) -> list[Path]:
    return sorted(path for path in work_dir.iterdir() if path.is_dir()) if work_dir.is_dir() else []


def finish_shard(folder: Path, shard: int, rows: pa.Table, sha256: str) -> None:
    """Write the rows of a shard, which say that it is whole and what its bytes are."""
    write_table(folder / rows_name(shard), rows.replace_schema_metadata({_SHA256: sha256}))


def done_shards(folder: Path, num_shards: int) -> set[int]:
    """The shards in a folder that are whole, to the last byte, and refuse nothing that another try may store."""
    begun = [shard for shard in range(num_shards) if (folder / rows_name(shard)).exists()]
    return {shard for shard in _watched(begun) if _is_final(folder, shard) and _is_whole(folder, shard)}


def _is_final(folder: Path, shard: int) -> bool:
    try:
        refused = read_quarantine(folder / skipped_name(shard))
    except (StoreError, pa.ArrowInvalid):
        return False
    return not any(item.reason in TRANSIENT_REASONS for item in refused)


def _watched(shards: Sequence[Any]) -> Iterable[Any]:
    return tqdm(shards, desc="kept shards", unit="shard", disable=not shards)


def _is_whole(folder: Path, shard: int) -> bool:
    path = folder / shard_name(shard)
    if not path.exists():
        return False
    try:
        expected = pq.read_schema(folder / rows_name(shard)).metadata[_SHA256].decode()
    except pa.ArrowInvalid:  # empty, say: a machine that lost its power may leave the name without the bytes
        return False
    with path.open("rb") as tar:
        return hashlib.file_digest(tar, "sha256").hexdigest() == expected


class EarlierShards:
    """Videos in whole shards of other plans, and in those of `folder` that are `missing`: to be written once more.

    Memory is that of their names.
    """

    def __init__(self, folder: Path, missing: Mapping[int, Sequence[Video]]) -> None:
        names = {video.video_id for group in missing.values() for video in group}
        own = [folder / rows_name(shard) for shard in missing]
        others = [path for other in _folders(folder.parent) if other != folder for path in sorted(other.glob(_ROWS))]
        found = [*others, *(path for path in own if path.exists())]
        self._places: dict[str, tuple[Path, int]] = {}
        self._rows = lru_cache(maxsize=4)(_rows)  # videos are asked for in the order in which they lie
        for path in _watched(found):
            shard = int(path.name.split(".")[0].removeprefix("shard-"))
            if _is_whole(path.parent, shard):
                stored = pq.read_table(path, columns=["video_id"])["video_id"].to_pylist()
                self._places |= {video_id: (path.parent, shard) for video_id in stored if video_id in names}

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._places

    def packed(self, video_id: str) -> ShardEntry:
        folder, shard = self._places[video_id]
        row = self._rows(folder, shard)[video_id]
        with (folder / shard_name(shard)).open("rb") as tar:
            tar.seek(row["offset"])
            return ShardEntry(row, tar.read(sum(strides(row["sizes"]))))


def _rows(folder: Path, shard: int) -> Mapping[str, Mapping[str, Any]]:
    return {row["video_id"]: row for row in pq.read_table(folder / rows_name(shard)).to_pylist()}
