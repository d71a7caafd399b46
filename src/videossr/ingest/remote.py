"""The files behind a URL, brought here: several at a time, kept over a kill; one that fails costs itself alone.

Credentials come from where each store's own tools look for them (for S3 `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `~/.aws`, a
role): never from the URL, which is written into parameters and logs.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from fsspec.callbacks import Callback
from tqdm import tqdm

from videossr.errors import ConfigError, SourceError
from videossr.records import RejectedFile
from videossr.storage.atomic import explain_full_disk, write_text

_AT_ONCE = 8
_SUSPICIOUS = 32  # failures in a row: is it the files, or has the source gone?
# What stores tell about a version of a file, the surest first.
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "updated", "created")
# Several files at a time, each in one request: several parts of each at a time lie in memory by the gigabyte.
_OPTIONS = {"s3": {"max_concurrency": 1}}
# Errors of the stores' libraries that descend from none of Python's; whoever raises one has imported its module.
_FOREIGN_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko", "SSHException"),
)
_AGAIN = "`dvc repro --force --single-item ingest` tries again"


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL as it was listed: `name` below the folder of the source, `mark` of its version."""

    url: str
    path: str
    name: str
    size: int | None
    mark: str


def is_url(source: str) -> bool:
    """Whether a source is the URL of a folder, and no path."""
    return "://" in source


def refuse_secrets(url: str) -> None:
    """Raise ConfigError, which does not repeat them, where a URL carries a password, a signature or a token."""
    if re.search(r":.*:.*@|[?]", url):
        raise ConfigError(
            "a URL is written into parameters and logs, so it must carry no password (user:password@), no signature "
            "and no token (?...), and this one does: give credentials by the environment (for S3 AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID)"
        )


def require_reachable(url: str) -> None:
    """Ask for the folder at `url`, not for what is in it. Raises SourceError where it is out of reach."""
    refuse_secrets(url)
    if urlsplit(url).scheme == "memory":
        raise SourceError(f"the source {url} lives in one process, and each stage is one of its own: name another")
    try:
        system, root = _opened(url)
        system.info(root)
    except _failures() as error:
        raise _out_of_reach(url, error) from None


def remotes_below(url: str) -> list[RemoteFile]:
    """Every file below the folder at `url`, by name. Raises SourceError where it cannot be listed."""
    try:
        system, root = _opened(url)
        system.invalidate_cache()
        found = system.find(root, detail=True)
    except _failures() as error:
        raise _out_of_reach(url, error) from None
    prefix = root.rstrip("/") + "/"
    remotes = [
        RemoteFile(system.unstrip_protocol(path), path, path.removeprefix(prefix), info.get("size"), _mark(info))
        for path, info in found.items()
    ]
    return sorted(remotes, key=lambda remote: remote.name)


def fetch(url: str, remotes: Sequence[RemoteFile], folder: Path) -> dict[str, RejectedFile]:
    """Bring `remotes`, listed below `url`, to their names in `folder`; returns those that cannot be had, by name.

    What lies there in the listed size and version is kept, what is not listed is removed. Raises SourceError where the
    source is out of reach while files are fetched, StoreError where the disk is full; what has come is kept.
    """
    record = folder.with_name(folder.name + ".jsonl")
    _drop_others(folder, {folder / remote.name for remote in remotes})
    left = _without_kept(remotes, folder, record)
    if not left:
        return {}
    still_there = partial(remotes_below, url)
    failed = _bring(url, left, folder, record, still_there)
    if failed:
        failed = _bring(url, [remote for remote in left if remote.name in failed], folder, record, still_there)
    now = {remote.name: remote for remote in still_there()}
    changed = [remote for remote in left if remote.name not in failed and now.get(remote.name) != remote]
    return failed | {remote.name: _changed(remote, "it changed while files were fetched") for remote in changed}


def _bring(
    url: str, remotes: Sequence[RemoteFile], folder: Path, record: Path, still_there: Callable[[], object]
) -> dict[str, RejectedFile]:
    system, _ = _opened(url)
    unfinished = folder.with_name(folder.name + ".partial")
    unfinished.mkdir(parents=True, exist_ok=True)
    failed: dict[str, RejectedFile] = {}
    in_a_row = 0
    num_bytes = sum(remote.size or 0 for remote in remotes)
    with (
        tqdm(desc=f"fetch {len(remotes)} files", total=num_bytes, unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(_AT_ONCE if system.async_impl else 1) as pool,
    ):
        get = partial(
            _get, system=system, folder=folder, unfinished=unfinished, record=record, progress=_Bytes(bar.update)
        )
        for remote, refusal in zip(remotes, pool.map(get, remotes), strict=True):
            in_a_row = in_a_row + 1 if refusal else 0
            if refusal:
                failed[remote.name] = refusal
            if in_a_row == _SUSPICIOUS:
                try:
                    still_there()
                except SourceError:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    shutil.rmtree(unfinished)
    return failed


def _get(
    remote: RemoteFile,
    system: fsspec.AbstractFileSystem,
    folder: Path,
    unfinished: Path,
    record: Path,
    progress: Callback,
) -> RejectedFile | None:
    """Fetch one file; a name of its own keeps half a file apart, and its line in the record comes last."""
    target, half = folder / remote.name, unfinished / hashlib.sha256(remote.name.encode()).hexdigest()
    try:
        with explain_full_disk(target):
            system.get_file(remote.path, str(half), callback=progress)
            if remote.size not in (None, half.stat().st_size):
                return _changed(remote, f"{half.stat().st_size} bytes have come, {remote.size} were listed")
            target.parent.mkdir(parents=True, exist_ok=True)
            half.replace(target)
            with record.open("a", encoding="utf-8") as lines:
                lines.write(_line(remote))
    except FileNotFoundError:
        return _changed(remote, "it was listed and is gone")
    except _failures() as error:
        return RejectedFile(remote.url, "unreadable", f"it cannot be fetched ({_told(error)}): {_AGAIN}")
    return None


class _Bytes(Callback):
    """Tells a bar the bytes of every file as they come; fsspec's own bar starts anew with each file."""

    def __init__(self, update: Callable[[int], object]) -> None:
        super().__init__()
        self.update = update

    def relative_update(self, inc: int = 1) -> None:
        self.update(inc)


def _changed(remote: RemoteFile, what: str) -> RejectedFile:
    return RejectedFile(remote.url, "changed_while_read", f"{what}: {_AGAIN}")


def _without_kept(remotes: Sequence[RemoteFile], folder: Path, record: Path) -> list[RemoteFile]:
    """The files that are not here yet; the record is written anew with those that are."""
    had = set(record.read_text(encoding="utf-8").splitlines(keepends=True)) if record.exists() else set()
    kept = {remote.name for remote in remotes if _line(remote) in had and _is_here(remote, folder / remote.name)}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(record, "".join(_line(remote) for remote in remotes if remote.name in kept))
    return [remote for remote in remotes if remote.name not in kept]


def _is_here(remote: RemoteFile, path: Path) -> bool:
    # Without a size and without a mark nothing tells one version from another.
    return path.is_file() and (path.stat().st_size == remote.size if remote.size is not None else bool(remote.mark))


def _line(remote: RemoteFile) -> str:
    return json.dumps([remote.url, remote.size, remote.mark]) + "\n"


def _drop_others(folder: Path, wanted: set[Path]) -> None:
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            if Path(parent, name) not in wanted:
                Path(parent, name).unlink()
        for name in folders:
            if not any(Path(parent, name).iterdir()):
                Path(parent, name).rmdir()


def _mark(info: dict[str, object]) -> str:
    return next((str(info[key]) for key in _MARKS if info.get(key)), "")


def _opened(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    system, root = fsspec.core.url_to_fs(url, **_OPTIONS.get(urlsplit(url).scheme, {}))
    return system, root


def _failures() -> tuple[type[Exception], ...]:
    """What a store may raise: evaluated when something was raised, so that its library is loaded by then."""
    loaded = ((sys.modules.get(module), name) for module, name in _FOREIGN_ERRORS)
    return (ImportError, OSError, ValueError, *(getattr(module, name) for module, name in loaded if module))


def _out_of_reach(url: str, error: Exception) -> SourceError:
    if isinstance(error, ImportError):
        return SourceError(f"the source {url} needs a library ({_told(error)}): for S3, install '.[s3]'")
    if isinstance(error, FileNotFoundError):
        return SourceError(f"the source {url} does not exist: check the bucket and the folder in ingest.source")
    if isinstance(error, PermissionError):
        return SourceError(
            f"the source {url} may not be listed ({_told(error)}): give your credentials the right to list and to read "
            "it, or name others (for S3 AWS_PROFILE, or AWS_ACCESS_KEY_ID)"
        )
    return SourceError(
        f"the source {url} cannot be reached ({_told(error)}): check the URL, the network and your credentials, and "
        "run again; what was fetched is kept"
    )


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
