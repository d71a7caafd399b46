"""What a source holds, told without opening a video: what the graph watches in place of the source.

DVC would read and hash every byte of a folder before ingest does, wait on a named pipe, stop at a dangling link, and
walk links out of the folder. Names, sizes and times cost a look at each file, and say as much.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from videossr.ingest.remote import is_url, refuse_secrets
from videossr.ingest.sources import Entry, entries, existing, is_description, require_any, synth_params, videos_below
from videossr.storage.atomic import write_text

Row = Mapping[str, str | int | None]


def write_listing(path: Path, source: str, made_videos_dir: Path) -> None:
    """Write what `source` holds as JSON, an entry a line; the same bytes as long as it holds the same.

    A file has its name, size in bytes and time of change in nanoseconds; what ingest will refuse unopened has the
    reason instead; an object behind a URL has the mark of its version; a description of videos is there as it is. No
    link is followed out of a folder, and no URL with a secret gets here. Raises SourceError or ConfigError where the
    source cannot be used as a whole, StoreError where the disk is full.
    """
    rows = list(_rows(source, made_videos_dir))
    require_any(rows, source)
    write_text(path, _text(source, rows))


def _rows(source: str, made_videos_dir: Path) -> Iterator[Row]:
    if is_url(source):
        refuse_secrets(source)
        for remote in videos_below(source):
            yield {"name": remote.name, "kind": "object", "size": remote.size, "mark": remote.mark}
        return
    path = existing(source, made_videos_dir)
    if is_description(path):
        synth_params(path)
        yield {"name": path.name, "kind": "description", "text": path.read_text(encoding="utf-8")}
    else:
        yield from map(_row, entries(path))


def _row(entry: Entry) -> Row:
    if entry.refusal:
        return {"name": entry.name, "kind": ": ".join(entry.refusal)}
    try:
        facts = entry.path.stat()
    except OSError as error:
        return {"name": entry.name, "kind": f"unreadable: {error.strerror}"}
    # Permissions leave the time of change alone, and decide whether ingest can read it.
    kind = "file" if os.access(entry.path, os.R_OK) else "unreadable: no permission"
    return {"name": entry.name, "kind": kind, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _text(source: str, rows: Iterable[Row]) -> str:
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"source": {json.dumps(source)}, "holds": [\n{lines}\n]}}\n'
