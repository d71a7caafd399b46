"""Where videos come from: a folder, a list of paths, the URL of a folder, or a description of videos to be made."""

import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from videossr import config
from videossr.errors import SourceError
from videossr.fetching import fetch, is_url, remotes_below
from videossr.parallel import Workers
from videossr.records import Rejected
from videossr.synth import SynthParams, make_videos

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")
LISTS = (".txt", ".parquet")


def listed(
    source: str, seed: int, made_videos_dir: Path, fetched_dir: Path, workers: Workers
) -> tuple[list[Path], list[Rejected]]:
    """The files of a source in order, and those that are refused by their name or kind alone.

    Videos that are made are written into `made_videos_dir`, which is left empty otherwise; those behind a URL are
    fetched into `fetched_dir`, which is left alone otherwise.
    Raises SourceError where the source cannot be used as a whole.
    """
    if is_url(source):
        _empty(made_videos_dir)
        return _fetched(source, fetched_dir)
    path = _at_home(Path(source))
    if path.resolve().is_relative_to(made_videos_dir.resolve()):
        raise SourceError(f"{path} is where made videos go and is emptied: keep your videos in another folder")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        make_videos(_synth_params(path), seed, made_videos_dir, workers)
        return _in_folder(made_videos_dir)
    _check(path)
    _empty(made_videos_dir)
    return _in_list(path) if path.is_file() else _in_folder(path)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _check(source: Path) -> None:
    if source.is_file() and source.suffix not in LISTS:
        raise SourceError(
            f"the source {source} is one file: name the folder that holds it, a list of paths (.txt, .parquet), or a "
            ".yaml of made videos"
        )
    if not source.exists():
        raise SourceError(f"the source {source} does not exist: set ingest.source to a folder of videos")
    if not os.access(source, os.R_OK | (os.X_OK if source.is_dir() else 0)):
        raise SourceError(f"the source {source} cannot be read: give yourself the right to list it (chmod u+rx)")


def _synth_params(source: Path) -> SynthParams:
    try:
        section = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return config.build(SynthParams, section if isinstance(section, Mapping) else {}, str(source))


def _fetched(url: str, folder: Path) -> tuple[list[Path], list[Rejected]]:
    """Every video below the URL of a folder, brought into `folder`; what is refused goes by its URL."""
    videos = [remote for remote in remotes_below(url) if PurePosixPath(remote.name).suffix.lower() in SUFFIXES]
    refusals = {remote.name: _bad_name(Path(remote.name)) or _ambiguous(remote.name) for remote in videos}
    rejected = [Rejected(remote.url, *refusal) for remote in videos if (refusal := refusals[remote.name])]
    wanted = [remote for remote in videos if refusals[remote.name] is None]
    failed = fetch(url, wanted, folder)
    return [folder / remote.name for remote in wanted if remote.name not in failed], [*rejected, *failed.values()]


def _ambiguous(name: str) -> tuple[str, str] | None:
    """A key of an object store may be no path: only one that is its path's plain form has a place of its own."""
    if PurePosixPath(name).is_absolute() or str(PurePosixPath(name)) != name:
        return "bad_name", "the name is no plain path (//, /./ or / at its start): rename the object"
    return None


def _in_list(path: Path) -> tuple[list[Path], list[Rejected]]:
    """The files that a list names, relative to the list's folder; whoever lists a path means it, link or not.

    A file that is named in several ways (a.mp4, ./a.mp4, /videos/a.mp4) goes by the first of them; a link to a file is
    another file.
    """
    paths: list[Path] = []
    rejected: list[Rejected] = []
    names = dict.fromkeys(_names(path))
    if any(map(is_url, names)):
        raise SourceError(
            f"{path} names URLs, and a list names files here: set ingest.source to the URL of their folder"
        )
    places: set[Path] = set()
    for name in names:
        refusal = _bad_name(Path(name))
        named = path.parent / (_at_home(Path(name)) if refusal is None else Path(name))
        place = Path(os.path.realpath(named.parent)) / named.name if refusal is None else named
        if place in places:
            continue
        places.add(place)
        refusal = refusal or _bad_kind(named)
        if refusal is None:
            paths.append(named)
        else:
            rejected.append(Rejected(_printable(named), *refusal))
    return paths, rejected


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            return [str(name) for name in pq.read_table(path, columns=["path"])["path"].to_pylist() if name]
        # A name may hold what `splitlines` takes for the end of a line; a mark at the start of the file is no name.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        return [line.removesuffix("\r") for line in lines if line.strip()]
    except (pa.ArrowInvalid, KeyError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is no list of videos ({' '.join(str(error).split())}): one path a line, or a parquet column 'path'"
        ) from None


def _at_home(named: Path) -> Path:
    """~ and ~name as the home of a user, where there is such a user: else it is a name like any other."""
    try:
        return named.expanduser()
    except RuntimeError:
        return named


def _in_folder(folder: Path) -> tuple[list[Path], list[Rejected]]:
    """Files of a video suffix below `folder`, sorted, and those that are refused by their name or kind alone."""
    paths: list[Path] = []
    rejected: list[Rejected] = []
    for path in sorted(_walk(folder, rejected)):
        refusal = _bad_name(path.relative_to(folder)) or _bad_kind(path, folder.resolve())
        if refusal is None:
            paths.append(path)
        else:
            rejected.append(Rejected(_printable(path), *refusal))
    return paths, rejected


def _walk(folder: Path, rejected: list[Rejected]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        rejected.append(Rejected(_printable(Path(error.filename)), "unreadable", error.strerror or ""))

    for parent, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        videos = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        yield from (Path(parent) / name for name in (*links, *videos))


def _bad_name(named: Path) -> tuple[str, str] | None:
    """`named` as the source names it: below the folder, or in the list."""
    if _printable(named) != str(named):
        return "bad_name", "the name is not valid UTF-8: rename the file"
    if any(unicodedata.category(character) == "Cc" for character in str(named)):
        return "bad_name", "the name holds a line break or another control character: rename the file"
    if ".." in named.parts:
        return "bad_name", "the name leads upwards (..): name the file from where it lies"
    return None


def _bad_kind(path: Path, root: Path | None = None) -> tuple[str, str] | None:
    """What a file that must lie within `root` is refused for, unopened."""
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except RuntimeError:
        return "unreadable", "a link that leads to itself"
    except OSError as error:
        return "unreadable", error.strerror or ""
    if root is not None and not target.is_relative_to(root):
        return "outside_source", f"it leads to {_printable(target)}"
    if not stat.S_ISREG(mode):
        return "unreadable", "a link to a folder" if stat.S_ISDIR(mode) else "not a regular file"
    return None


def _printable(path: Path) -> str:
    """The path as valid text, for tables; a name that is not UTF-8 is shown with escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
