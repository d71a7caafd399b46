"""Inspect many files, and cache each inspection in a file of JSON lines (a header, then one row per file).

The cache survives a kill. A file that has not changed since its inspection is not inspected again. Other parameters or
another version of the code discard the whole cache. Transient rejections (a timeout, an unreadable file) are not
cached.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from videossr.ingest.cut import CutVideo
from videossr.ingest.inspect_file import InspectedVideo, Inspection, inspect_file
from videossr.ingest.signature import VisualSignature
from videossr.ingest.windows import Windows
from videossr.parallel import Failure, Limits, Workers, parallel_map
from videossr.records import TRANSIENT_REASONS, RejectedFile, Video
from videossr.storage.atomic import atomic_file
from videossr.storage.fingerprint import code_fingerprint
from videossr.storage.jsonl import append_jsonl, read_jsonl

# The code that decides the result of an inspection and the shape of a row.
CODE = (
    "clip.py",
    "decode/*.py",
    "frames/sampling.py",
    "ingest/cache.py",
    "ingest/cut.py",
    "ingest/inspect_file.py",
    "ingest/signature.py",
    "ingest/windows.py",
    "records.py",
    "storage/*.py",
)
_FileState = list[int]  # inode, size, times of the last change of content and of metadata
_log = logging.getLogger(__name__)


def inspect_all(
    paths: Sequence[Path],
    min_frames: int,
    span: tuple[float, float],
    limits: Limits,
    workers: Workers,
    cache_file: Path | None = None,
    windows: Windows | None = None,
) -> Iterator[Inspection]:
    """Yield the inspection of every file, in the order of `paths`; each is appended to `cache_file` at once.

    Raises StoreError if the disk is full.
    """
    states = {path: _file_state(path) for path in paths} if cache_file else {}
    code_version = code_fingerprint(CODE, ["av"])
    header = {"min_frames": min_frames, "span": list(span), "limits": asdict(limits), "version": code_version}
    header |= {"windows": asdict(windows)} if windows else {}
    cached = _load(cache_file, header, states) if cache_file else {}
    uncached = [path for path in paths if path not in cached]
    inspect = partial(inspect_file, min_frames=min_frames, span=span, windows=windows)
    inspections = parallel_map(inspect, uncached, workers, limits, _reject_failed)
    for path in paths:
        if path in cached:
            yield cached[path]
            continue
        inspection = next(inspections)
        if cache_file:
            _append(cache_file, path, states[path], inspection)
        yield inspection
    next(inspections, None)  # runs `parallel_map` to its end, which stops its processes


def _reject_failed(path: Path, failure: Failure) -> RejectedFile:
    return RejectedFile(str(path), failure.reason, failure.detail)


def _file_state(path: Path) -> _FileState | None:
    """The values that change when a file changes; None if the file does not exist.

    The time of change of the metadata differs even if the new file has the size and modification time of the old one.
    """
    try:
        file_stat = path.stat()
    except OSError:
        return None
    return [file_stat.st_ino, file_stat.st_size, file_stat.st_mtime_ns, file_stat.st_ctime_ns]


def _append(cache_file: Path, path: Path, state: _FileState | None, inspection: Inspection) -> None:
    is_transient = isinstance(inspection, RejectedFile) and inspection.reason in TRANSIENT_REASONS
    if state is not None and not is_transient:
        append_jsonl(cache_file, [_to_row(path, state, inspection)])


def _load(
    cache_file: Path, header: Mapping[str, Any], states: Mapping[Path, _FileState | None]
) -> dict[Path, Inspection]:
    """The cached inspections of the files that have not changed; the cache is rewritten with these alone."""
    cached: dict[Path, Inspection] = {}
    old_header, *rows = read_jsonl(cache_file) or [{}]
    for row in rows if old_header == header else []:
        path = Path(row["path"])
        if row["state"] == states.get(path):
            cached[path] = _from_row(row)
    with atomic_file(cache_file) as temporary:
        append_jsonl(temporary, [header, *(_to_row(path, states[path], cached[path]) for path in cached)])
    if cached:
        _log.info("%d of %d files have not changed since they were inspected", len(cached), len(states))
    return cached


def _to_row(path: Path, state: _FileState | None, inspection: Inspection) -> dict[str, Any]:
    row: dict[str, Any] = {"path": str(path), "state": state}
    if isinstance(inspection, RejectedFile):
        return {**row, "rejected": asdict(inspection)}
    signature = inspection.signature
    row |= {"video": asdict(inspection.video), "signature": [signature.bits.hex(), signature.duration_seconds]}
    return {**row, "cut": asdict(inspection.cut)} if inspection.cut else row


def _from_row(row: Mapping[str, Any]) -> Inspection:
    if "rejected" in row:
        return RejectedFile(**row["rejected"])
    bits, duration_seconds = row["signature"]
    signature = VisualSignature(bytes.fromhex(bits), duration_seconds)
    return InspectedVideo(Video(**row["video"]), signature, _cut_from_row(row["cut"]) if "cut" in row else None)


def _cut_from_row(row: Mapping[str, Any]) -> CutVideo:
    too_short = tuple(RejectedFile(**window) for window in row["too_short"])
    return CutVideo(tuple(Video(**window) for window in row["usable"]), too_short)
