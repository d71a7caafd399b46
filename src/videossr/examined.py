"""What was said of each examined file, kept over a kill: JSON Lines, a header, then one file a line.

A file that has not changed since is not examined again; other parameters or another version of the code begin anew.
What may end otherwise at another try (a timeout, a file out of reach) is not kept.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from videossr.examination import examine
from videossr.frames import told_where_full
from videossr.likeness import Likeness
from videossr.parallel import Limits, Loss, Workers, mapped
from videossr.records import MAY_END_OTHERWISE, Rejected, Video, whole_lines
from videossr.version import version_of

Examined = tuple[Video, Likeness] | Rejected

# What decides the result of an examination and the shape of a record, which is of one version of it all.
CODE = ("decode/*.py", "examination.py", "examined.py", "frames/*.py", "likeness.py", "records.py", "version.py")
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
    version = version_of(CODE, ["av"])
    header = {"min_frames": min_frames, "span": list(span), "limits": asdict(limits), "version": version}
    kept = _kept(record, header, marks) if record else {}
    left = [path for path in paths if path not in kept]
    fresh = mapped(partial(examine, min_frames=min_frames, span=span), left, workers, limits, _lost)
    for path in paths:
        if path in kept:
            yield kept[path]
            continue
        result = next(fresh)
        if record:
            _append(record, path, marks[path], result)
        yield result
    next(fresh, None)  # all are examined: the processes end


def _lost(path: Path, loss: Loss) -> Rejected:
    return Rejected(str(path), loss.reason, loss.detail)


def _mark(path: Path) -> list[int] | None:
    """What changes with a file; the last also where a copy is given the size and the time of what it replaces."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _append(record: Path, path: Path, mark: list[int] | None, result: Examined) -> None:
    if mark is None or (isinstance(result, Rejected) and result.reason in MAY_END_OTHERWISE):
        return
    with told_where_full(record), record.open("a", encoding="utf-8") as lines:
        lines.write(_line(path, mark, result))


def _kept(record: Path, header: Mapping[str, Any], marks: Mapping[Path, list[int] | None]) -> dict[Path, Examined]:
    """What the record holds of these files as they are now; it is written anew with that alone."""
    kept: dict[Path, Examined] = {}
    told, *rows = whole_lines(record) or [{}]
    for row in rows if told == header else []:
        path = Path(row["path"])
        if row["mark"] == marks.get(path):
            kept[path] = _result(row)
    unfinished = record.with_name(record.name + ".partial")
    with told_where_full(record):
        record.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as lines:
            lines.write(json.dumps(header) + "\n")
            lines.writelines(_line(path, marks[path], result) for path, result in kept.items())
        unfinished.replace(record)
    if kept:
        _log.info("%d of %d files have not changed since they were examined", len(kept), len(marks))
    return kept


def _line(path: Path, mark: list[int] | None, result: Examined) -> str:
    row: dict[str, Any] = {"path": str(path), "mark": mark}
    if isinstance(result, Rejected):
        return json.dumps({**row, "rejected": asdict(result)}) + "\n"
    video, look = result
    return json.dumps({**row, "video": asdict(video), "look": [look.bits.hex(), look.duration_seconds]}) + "\n"


def _result(row: Mapping[str, Any]) -> Examined:
    if "rejected" in row:
        return Rejected(**row["rejected"])
    bits, duration_seconds = row["look"]
    return Video(**row["video"]), Likeness(bytes.fromhex(bits), duration_seconds)
