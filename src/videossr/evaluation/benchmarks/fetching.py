"""Fetch the annotation files of a benchmark, and nothing else, from its source at one commit.

Only the files that the entry reads are asked for: data, never code, and no video.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fsspec
from tqdm import tqdm

from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation.benchmarks.entries import Benchmark
from videossr.evaluation.benchmarks.readers import find_file
from videossr.evaluation.benchmarks.revisions import read_record, recorded_revision, write_record
from videossr.ingest.remote import one_line, store_errors
from videossr.storage.atomic import explain_full_disk, write_bytes

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB = re.compile(r"https://huggingface\.co/datasets/([^/]+/[^/]+)")
_GITHUB = re.compile(r"https://github\.com/([^/]+/[^/]+)(?:/tree/[^/]+/(.+))?")


@dataclass(frozen=True)
class Servers:
    """Where the sources are: a server with the Hub's endpoints (None: HF_ENDPOINT), and GitHub's server of files."""

    hub: str | None = None
    github: str = "https://raw.githubusercontent.com"


# Writes the file of this path in the source below the folder; false where the source has no such file.
_Fetch = Callable[[str, Path], bool]


def fetch_annotations(
    benchmark: Benchmark, folder: Path, revision: str | None = None, servers: Servers | None = None
) -> str:
    """Fetch the annotations of a benchmark to `folder` and return the commit that they are of.

    `revision` is a commit of the source; None takes the pinned one of the entry. Nothing is fetched where `folder`
    holds this commit already. Raises ConfigError for a revision that is no commit or not known, BenchmarkError where
    the source does not give its files or `folder` holds others.
    """
    fetch_from = _source(benchmark, servers or Servers())
    commit = _commit(benchmark, revision)
    if recorded_revision(benchmark, folder) == commit:
        return commit
    _refuse_other_files(benchmark, folder)
    partial_folder = folder / f".partial-{commit}"  # finished files of it survive a kill
    with explain_full_disk(folder):
        names = _fetch_files(benchmark, commit, partial(fetch_from, commit), partial_folder)
        _replace_files(folder, partial_folder, names)
    write_record(folder, benchmark, commit, names)
    return commit


def commits_page(benchmark: Benchmark) -> str:
    """The address of the page that lists the commits of a source on the Hub or on GitHub."""
    if match := _HUB.fullmatch(benchmark.source):
        return f"https://huggingface.co/datasets/{match[1]}/commits/main"
    match = _GITHUB.fullmatch(benchmark.source)
    return f"https://github.com/{match[1]}/commits" if match else benchmark.source


def _source(benchmark: Benchmark, servers: Servers) -> Callable[[str, str, Path], bool]:
    if match := _HUB.fullmatch(benchmark.source):
        return partial(_fetch_from_hub, benchmark, match[1], servers.hub)
    if match := _GITHUB.fullmatch(benchmark.source):
        return partial(_fetch_from_github, benchmark, match[1], match[2] or "", servers.github)
    raise BenchmarkError(f"{benchmark.key} has no annotations to fetch: {benchmark.obtain}")


def _commit(benchmark: Benchmark, revision: str | None) -> str:
    commit = revision or benchmark.revision
    if commit is None:
        raise ConfigError(
            f"{benchmark.key} has no pinned revision: name a commit with --revision, of those in "
            f"{commits_page(benchmark)}"
        )
    if not _COMMIT.fullmatch(commit):
        raise ConfigError(
            f"a revision must be a commit, 40 hexadecimal digits, because branches and tags can move, got {commit!r}: "
            f"{commits_page(benchmark)} lists the commits"
        )
    return commit


def _wanted(benchmark: Benchmark) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The paths under which each file of the entry may lie, and whether it may be absent."""
    layout = benchmark.default_layout
    for paths in dict.fromkeys(part.paths for part in layout.parts):
        yield paths, False
    for file in layout.side_files:
        yield (file.path,), True


def _refuse_other_files(benchmark: Benchmark, folder: Path) -> None:
    record = read_record(folder)
    fetched = {folder / name for name in record.sha256} if record else set()
    found = [find_file(folder, paths) for paths, _ in _wanted(benchmark)]
    others = [path for path in found if path is not None and path not in fetched]
    if others:
        raise BenchmarkError(f"{others[0]} is there and was not fetched from a known commit: name another folder")


def _fetch_files(benchmark: Benchmark, commit: str, fetch: _Fetch, target: Path) -> list[str]:
    names = []
    for paths, may_be_absent in tqdm(list(_wanted(benchmark)), desc=f"fetch {benchmark.key}", unit="file"):
        name = next((path for path in paths if fetch(path, target)), None)
        if name is not None:
            names.append(name)
        elif not may_be_absent:
            raise BenchmarkError(
                f"{benchmark.source} has no {' or '.join(paths)} at commit {commit}: name another with --revision, of "
                f"those in {commits_page(benchmark)}"
            )
    return names


def _replace_files(folder: Path, partial_folder: Path, names: list[str]) -> None:
    record = read_record(folder)
    for name in record.sha256 if record else ():
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (partial_folder / name).replace(folder / name)
    shutil.rmtree(partial_folder)


def _fetch_from_hub(
    benchmark: Benchmark, repository: str, server: str | None, commit: str, path: str, target: Path
) -> bool:
    from huggingface_hub import hf_hub_download  # a second, and only this command needs it
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        hf_hub_download(repository, path, repo_type="dataset", revision=commit, local_dir=target, endpoint=server)
    except RemoteEntryNotFoundError:
        return False
    except GatedRepoError:
        raise BenchmarkError(
            f"{benchmark.source} gives its files to those who accepted its terms: accept them there, and name yourself "
            "with `hf auth login` or HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise BenchmarkError(
            f"{benchmark.source} is not there, or not for you: it was moved, or needs `hf auth login` or HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise _no_commit(benchmark, commit) from None
    except OSError as error:  # LocalEntryNotFoundError, whose cause says more, is one of them
        cause = error.__cause__
        raise _unreachable(benchmark, cause if isinstance(cause, Exception) else error) from None
    return True


def _fetch_from_github(
    benchmark: Benchmark, repository: str, folder: str, server: str, commit: str, path: str, target: Path
) -> bool:
    file = "/".join(filter(None, (folder, path)))
    if (target / path).exists():
        return True
    try:
        content = fsspec.filesystem("http").cat_file(f"{server}/{repository}/{commit}/{file}")
    except FileNotFoundError:
        return False
    except store_errors() as error:
        raise _unreachable(benchmark, error) from None
    write_bytes(target / path, content)
    return True


def _no_commit(benchmark: Benchmark, commit: str) -> BenchmarkError:
    return BenchmarkError(
        f"{benchmark.source} has no commit {commit}: name one with --revision, of those in {commits_page(benchmark)}"
    )


def _unreachable(benchmark: Benchmark, error: Exception) -> BenchmarkError:
    reason = one_line(error)
    return BenchmarkError(
        f"{benchmark.source} cannot be reached ({reason}): run again with a network, or get the files elsewhere: "
        f"{benchmark.obtain}"
    )
