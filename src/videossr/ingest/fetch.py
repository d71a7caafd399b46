"""Fetch the files behind a URL, several at a time. Fetched files survive a kill; a failed file is rejected alone."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fsspec.callbacks import Callback
from tqdm import tqdm

from videossr.errors import SourceError
from videossr.ingest.remote import RemoteFile, RemoteFolder, one_line, store_errors
from videossr.records import RejectedFile
from videossr.storage.atomic import explain_full_disk, write_text

_NUM_THREADS = 8
_MAX_FAILURES_IN_A_ROW = 32  # then check whether the source can still be listed
_REMEDY = "`dvc repro --force ingest` lists the source and tries again"


def fetch(remote: RemoteFolder, files: Sequence[RemoteFile], folder: Path) -> dict[str, RejectedFile]:
    """Fetch the listed `files` of `remote` to their names in `folder`; returns the rejected ones by name.

    A file that is in `folder` with its listed size and version is not fetched again; a file that is not listed is
    removed. If any was fetched, the source is listed once afterwards, and files that changed meanwhile are rejected.
    Raises SourceError if the source cannot be reached, StoreError if the disk is full; fetched files stay.
    """
    fetcher = _Fetcher(remote, folder)
    _remove_others(folder, {folder / file.name for file in files})
    missing = fetcher.find_missing(files)
    if not missing:
        return {}
    rejected = fetcher.fetch_all(missing)
    if rejected:
        rejected = fetcher.fetch_all([file for file in missing if file.name in rejected])
    current = {file.name: file for file in remote.list_files()}
    changed = [file for file in missing if file.name not in rejected and current.get(file.name) != file]
    return rejected | {file.name: _changed(remote, file, "it changed while files were fetched") for file in changed}


class _Fetcher:
    """Fetches into one folder; a record beside it has a line for each fetched file, with its size and version."""

    def __init__(self, remote: RemoteFolder, folder: Path) -> None:
        self._remote = remote
        self._folder = folder
        self._record = folder.with_name(folder.name + ".jsonl")
        self._partial_folder = folder.with_name(folder.name + ".partial")

    def find_missing(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """The files that are not fetched yet. The record is rewritten with the fetched ones."""
        text = self._record.read_text(encoding="utf-8") if self._record.exists() else ""
        lines = set(text.splitlines(keepends=True))
        present = {file.name for file in files if self._line(file) in lines and self._is_present(file)}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self._record, "".join(self._line(file) for file in files if file.name in present))
        return [file for file in files if file.name not in present]

    def fetch_all(self, files: Sequence[RemoteFile]) -> dict[str, RejectedFile]:
        """Fetch every file once; returns the rejected ones by name. Raises SourceError if the source is unreachable."""
        self._partial_folder.mkdir(parents=True, exist_ok=True)
        rejected: dict[str, RejectedFile] = {}
        failures_in_a_row = 0
        num_bytes = sum(file.size or 0 for file in files)
        with (
            tqdm(desc=f"fetch {len(files)} files", total=num_bytes, unit="B", unit_scale=True) as bar,
            ThreadPoolExecutor(_NUM_THREADS if self._remote.file_system.async_impl else 1) as pool,
        ):
            fetch_one = partial(self._fetch_one, progress=_ByteCounter(bar.update))
            for file, rejection in zip(files, pool.map(fetch_one, files), strict=True):
                failures_in_a_row = failures_in_a_row + 1 if rejection else 0
                if rejection:
                    rejected[file.name] = rejection
                if failures_in_a_row == _MAX_FAILURES_IN_A_ROW:
                    self._require_listable(pool)
        shutil.rmtree(self._partial_folder)
        return rejected

    def _require_listable(self, pool: ThreadPoolExecutor) -> None:
        try:
            self._remote.list_files()
        except SourceError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    def _fetch_one(self, file: RemoteFile, progress: Callback) -> RejectedFile | None:
        """Fetch one file. It is written beside the folder and renamed; the line of the record comes last."""
        target = self._folder / file.name
        partial_file = self._partial_folder / hashlib.sha256(file.name.encode()).hexdigest()
        try:
            with explain_full_disk(target):
                self._remote.file_system.get_file(self._remote.path_of(file.name), str(partial_file), callback=progress)
                size = partial_file.stat().st_size
                if file.size not in (None, size):
                    return _changed(self._remote, file, f"{size} bytes were fetched, {file.size} were listed")
                target.parent.mkdir(parents=True, exist_ok=True)
                partial_file.replace(target)
                # A plain append: `append_jsonl` first cuts a damaged last line, which may be another thread's.
                with self._record.open("a", encoding="utf-8") as record:
                    record.write(self._line(file))
        except FileNotFoundError:
            return _changed(self._remote, file, "it was deleted after it was listed")
        except store_errors() as error:
            detail = f"it cannot be fetched ({one_line(error)}): {_REMEDY}"
            return RejectedFile(self._remote.url_of(file.name), "unreadable", detail)
        return None

    def _is_present(self, file: RemoteFile) -> bool:
        path = self._folder / file.name
        # Without a size and a version, an old file cannot be distinguished from a new one.
        return path.is_file() and (path.stat().st_size == file.size if file.size is not None else bool(file.mark))

    def _line(self, file: RemoteFile) -> str:
        return json.dumps([self._remote.url_of(file.name), file.size, file.mark]) + "\n"


class _ByteCounter(Callback):
    """Adds the bytes of all files to one progress bar; fsspec's own bar starts again with each file."""

    def __init__(self, update: Callable[[int], object]) -> None:
        super().__init__()
        self.update = update

    def relative_update(self, inc: int = 1) -> None:
        self.update(inc)


def _changed(remote: RemoteFolder, file: RemoteFile, detail: str) -> RejectedFile:
    return RejectedFile(remote.url_of(file.name), "changed_while_read", f"{detail}: {_REMEDY}")


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Remove the files below `folder` that are not wanted, and the folders that this leaves empty."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(parent, name) not in wanted:
                Path(parent, name).unlink()
        for name in folders:
            if not any(Path(parent, name).iterdir()):
                Path(parent, name).rmdir()
