"""From a snapshot to local files: make described videos, fetch remote ones, check that local ones did not change."""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from videossr.ingest.fetch import fetch
from videossr.ingest.listing import (
    ListedFile,
    LocalEntry,
    RejectedEntry,
    entry_path,
    list_entries,
    name_problem,
    printable,
)
from videossr.ingest.remote import RemoteFile, RemoteFolder, is_url
from videossr.ingest.snapshot import Description, Snapshot
from videossr.ingest.sources import parse_description, require_source
from videossr.ingest.synthetic import make_videos
from videossr.parallel import Workers
from videossr.records import RejectedFile
from videossr.storage.atomic import write_text

Obtained = tuple[list[Path], list[RejectedFile]]  # files to inspect, in the order of the snapshot, and rejected ones

_NEXT_RUN = "the next run lists it again (or run `dvc repro --force ingest`)"


def obtain_files(snapshot: Snapshot, seed: int, made_videos_dir: Path, fetched_dir: Path, workers: Workers) -> Obtained:
    """Local paths of what `snapshot` lists, and the files that are rejected before any is opened.

    Described videos are made with `seed` in `made_videos_dir`, which is emptied for every other source. Remote files
    are fetched into `fetched_dir`, which is not changed for any other source. Raises SourceError if the source can no
    longer be used as a whole, StoreError if the disk is full.
    """
    if is_url(snapshot.source):
        _empty(made_videos_dir)
        return _fetch(snapshot, fetched_dir)
    source = require_source(snapshot.source, made_videos_dir)
    if descriptions := [entry for entry in snapshot.entries if isinstance(entry, Description)]:
        make_videos(parse_description(descriptions[0].text, source), seed, made_videos_dir, workers)
        return _check_local(made_videos_dir, list_entries(made_videos_dir))
    _empty(made_videos_dir)
    return _check_local(source, [entry for entry in snapshot.entries if isinstance(entry, LocalEntry)])


def _fetch(snapshot: Snapshot, folder: Path) -> Obtained:
    remote = RemoteFolder(snapshot.source)
    rejected: list[RejectedFile] = []
    wanted: list[RemoteFile] = []
    for file in snapshot.entries:
        if isinstance(file, RemoteFile):
            if problem := _object_name_problem(file.name):
                rejected.append(RejectedFile(remote.url_of(file.name), *problem))
            else:
                wanted.append(file)
    failed = fetch(remote, wanted, folder)
    return [folder / file.name for file in wanted if file.name not in failed], [*rejected, *failed.values()]


def _object_name_problem(name: str) -> tuple[str, str] | None:
    """Reason and detail where the key of an object cannot be a path: a//b and a/b would be the same file."""
    if problem := name_problem(Path(name)):
        return problem
    if PurePosixPath(name).is_absolute() or str(PurePosixPath(name)) != name:
        return "bad_name", "the name is not a plain path (//, /./ or / at its start): rename the object"
    return None


def _check_local(source: Path, entries: Iterable[LocalEntry]) -> Obtained:
    paths: list[Path] = []
    rejected: list[RejectedFile] = []
    for entry in entries:
        path = entry_path(source, entry)
        problem = (entry.reason, entry.detail) if isinstance(entry, RejectedEntry) else _change(path, entry)
        if problem:
            rejected.append(RejectedFile(printable(path), *problem))
        else:
            paths.append(path)
    return paths, rejected


def _change(path: Path, entry: ListedFile) -> tuple[str, str] | None:
    """Reason and detail if the file at `path` is not the one that was listed."""
    try:
        file_stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "changed_while_read", f"it was deleted after it was listed: {_NEXT_RUN}"
    except OSError as error:
        return "unreadable", error.strerror or ""
    if (file_stat.st_size, file_stat.st_mtime_ns) != (entry.size, entry.mtime_ns):
        return "changed_while_read", f"it changed after it was listed: {_NEXT_RUN}"
    return None


def _empty(folder: Path) -> None:
    """Leave only a note: DVC warns of an output that is an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / "README.txt", "No synthetic videos: the source of this run is another one.\n")
