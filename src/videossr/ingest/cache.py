"""What was said of each examined file, kept over a kill: JSON Lines, a header, then one file a line.

A file that has not changed since is not examined again; other parameters or another version of the code begin anew.
What may end otherwise at another try (a timeout, a file out of reach) is not kept.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from videossr.ingest.inspect_file import examine
from videossr.ingest.signature import VisualSignature
from videossr.parallel import Failure, Limits, Workers, parallel_map
from videossr.records import TRANSIENT_REASONS, RejectedFile, Video
from videossr.storage.atomic import atomic_file
from videossr.storage.fingerprint import code_fingerprint
from videossr.storage.jsonl import append_jsonl, read_jsonl

Examined = tuple[Video, VisualSignature] | RejectedFile

# What decides the result of an examination and the shape of a record, which is of one version of it all.
CODE = (
    "clip.py",
    "decode/*.py",
    "frames/sampling.py",
    "ingest/cache.py",
    "ingest/inspect_file.py",
    "ingest/signature.py",
    "records.py",
    "storage/*.py",
)
_log = logging.getLogger(__name__)


def examine_all(
    paths: Sequence[Path],
    min_frames: int,
    span: tuple[float, float],
    limits: Limits,
    workers: Workers,
    record: Path | None = None,
) -> Iterator[Examined]:
    """Examine every file, results in order; each is appended to `record`, where a later call finds it.

    Raises StoreError where the disk is too full for the record.
    """
    marks = {path: _mark(path) for path in paths} if record else {}
    version = code_fingerprint(CODE, ["av"])
    header = {"min_frames": min_frames, "span": list(span), "limits": asdict(limits), "version": version}
    kept = _kept(record, header, marks) if record else {}
    left = [path for path in paths if path not in kept]
    fresh = parallel_map(partial(examine, min_frames=min_frames, span=span), left, workers, limits, _lost)
    for path in paths:
        if path in kept:
            yield kept[path]
            continue
        result = next(fresh)
        if record:
            _append(record, path, marks[path], result)
        yield result
    next(fresh, None)  # all are examined: the processes end


def _lost(path: Path, loss: Failure) -> RejectedFile:
    return RejectedFile(str(path), loss.reason, loss.detail)


def _mark(path: Path) -> list[int] | None:
    """What changes with a file; the last also where a copy is given the size and the time of what it replaces."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _append(record: Path, path: Path, mark: list[int] | None, result: Examined) -> None:
    if mark is None or (isinstance(result, RejectedFile) and result.reason in TRANSIENT_REASONS):
        return
    append_jsonl(record, [_row(path, mark, result)])


def _kept(record: Path, header: Mapping[str, Any], marks: Mapping[Path, list[int] | None]) -> dict[Path, Examined]:
    """What the record holds of these files as they are now; it is written anew with that alone."""
    kept: dict[Path, Examined] = {}
    told, *rows = read_jsonl(record) or [{}]
    for row in rows if told == header else []:
        path = Path(row["path"])
        if row["mark"] == marks.get(path):
            kept[path] = _result(row)
    with atomic_file(record) as temporary:
        append_jsonl(temporary, [header, *(_row(path, marks[path], result) for path, result in kept.items())])
    if kept:
        _log.info("%d of %d files have not changed since they were examined", len(kept), len(marks))
    return kept


def _row(path: Path, mark: list[int] | None, result: Examined) -> dict[str, Any]:
    row: dict[str, Any] = {"path": str(path), "mark": mark}
    if isinstance(result, RejectedFile):
        return {**row, "rejected": asdict(result)}
    video, look = result
    return {**row, "video": asdict(video), "look": [look.bits.hex(), look.duration_seconds]}


def _result(row: Mapping[str, Any]) -> Examined:
    if "rejected" in row:
        return RejectedFile(**row["rejected"])
    bits, duration_seconds = row["look"]
    return Video(**row["video"]), VisualSignature(bytes.fromhex(bits), duration_seconds)
