"""The snapshot of a source: names, sizes and times of its files, unopened. The graph watches it, and ingest reads it.

If DVC watched the source itself, it would read and hash every byte of a folder before ingest does, wait on a named
pipe, stop at a dangling link, and follow links out of the folder. Names, sizes and times cost one `stat` per file and
show the same changes.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from videossr.errors import SourceError
from videossr.ingest.listing import (
    VIDEO_SUFFIXES,
    ListedFile,
    RejectedEntry,
    count_other_files,
    find_outputs,
    iter_names,
    list_entries,
)
from videossr.ingest.remote import RemoteFile, RemoteFolder, is_url, require_no_secret
from videossr.ingest.sources import (
    is_description,
    parse_description,
    read_description,
    require_not_empty,
    require_source,
)
from videossr.storage.atomic import write_text

_log = logging.getLogger(__name__)
_UNREADABLE_FILE = "unreadable: no permission"


@dataclass(frozen=True)
class Description:
    """The file that describes videos to make, and its text."""

    name: str
    text: str


Entry = ListedFile | RejectedEntry | RemoteFile | Description


@dataclass(frozen=True)
class Snapshot:
    """The content of `source` when it was listed, in the order in which ingest inspects it.

    The entries are local (`ListedFile`, `RejectedEntry`), remote (`RemoteFile`), or one `Description`.
    """

    source: str
    entries: tuple[Entry, ...]


def take_snapshot(source: str, made_videos_dir: Path) -> Snapshot:
    """List `source` without opening a video.

    A link is not followed out of a folder. Raises SourceError or ConfigError where the source cannot be used as a
    whole, holds no video, or is a URL with a secret.
    """
    if is_url(source):
        require_no_secret(source)
        entries = _list_remote_videos(source)
    else:
        entries = _list_local(require_source(source, made_videos_dir))
    require_not_empty(entries, source)
    return Snapshot(source, entries)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot as JSON, one entry per line; equal snapshots have equal bytes.

    Raises StoreError where the disk is full.
    """
    lines = ",\n".join(json.dumps(_to_row(entry)) for entry in snapshot.entries)
    write_text(path, f'{{"source": {json.dumps(snapshot.source)}, "holds": [\n{lines}\n]}}\n')


def read_snapshot(path: Path) -> Snapshot:
    """The snapshot that `write_snapshot` wrote. Raises SourceError where it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
        return Snapshot(content["source"], tuple(_from_row(row) for row in content["holds"]))
    except FileNotFoundError:
        raise SourceError(f"no listing of the source at {path}: run `dvc repro`, which writes it") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise SourceError(
            f"the listing of the source at {path} is damaged: run `dvc repro`, which replaces it"
        ) from None


def _list_remote_videos(url: str) -> tuple[Entry, ...]:
    files = RemoteFolder(url).list_files()
    _log_other_files(file.name for file in files)
    return tuple(file for file in files if PurePosixPath(file.name).suffix.lower() in VIDEO_SUFFIXES)


def _list_local(path: Path) -> tuple[Entry, ...]:
    if not is_description(path):
        if path.is_dir():
            _log_other_files(iter_names(path))
            if outputs := [str(folder.relative_to(path)) for folder in find_outputs(path)]:
                _log.info("folders passed over, because a project keeps its outputs there: %s", ", ".join(outputs))
        return tuple(list_entries(path))
    text = read_description(path)
    parse_description(text, path)  # a mistake in it is reported before anything else runs
    return (Description(path.name, text),)


def _log_other_files(names: Iterable[str]) -> None:
    """Name what a source holds beside videos. It is not part of the snapshot: a new text file changes no video."""
    if others := count_other_files(names):
        counts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        _log.info("files passed over for their suffix: %s", counts)


def _to_row(entry: Entry) -> dict[str, str | int | None]:
    match entry:
        case ListedFile(name, size, mtime_ns, is_readable):
            kind = "file" if is_readable else _UNREADABLE_FILE
            return {"name": name, "kind": kind, "size": size, "mtime_ns": mtime_ns}
        case RejectedEntry(name, reason, detail):
            return {"name": name, "kind": f"{reason}: {detail}"}
        case RemoteFile(name, size, mark):
            return {"name": name, "kind": "object", "size": size, "mark": mark}
        case Description(name, text):
            return {"name": name, "kind": "description", "text": text}


def _from_row(row: Mapping[str, Any]) -> Entry:
    kind: str = row["kind"]
    if "mtime_ns" in row:
        return ListedFile(row["name"], row["size"], row["mtime_ns"], is_readable=kind != _UNREADABLE_FILE)
    if kind == "object":
        return RemoteFile(row["name"], row["size"], row["mark"])
    if kind == "description":
        return Description(row["name"], row["text"])
    reason, _, detail = kind.partition(": ")
    return RejectedEntry(row["name"], reason, detail)
