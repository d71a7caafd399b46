"""Where videos come from: a folder, a list of paths, the URL of a folder, or a description of videos to be made."""

import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from videossr import config
from videossr.errors import SourceError
from videossr.ingest.remote import RemoteFile, fetch, is_url, remotes_below
from videossr.ingest.synthetic import SyntheticParams, make_videos
from videossr.parallel import Workers
from videossr.records import RejectedFile

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")
LISTS = (".txt", ".parquet")
DESCRIPTIONS = (".yaml", ".yml")


@dataclass(frozen=True)
class Entry:
    """What a folder or a list offers as a video. `name` is printable: below the folder, or the line of the list;
    `refusal`, a reason and a detail, is what its name or kind alone is refused for, unopened.
    """

    name: str
    path: Path
    refusal: tuple[str, str] | None


def listed(
    source: str, seed: int, made_videos_dir: Path, fetched_dir: Path, workers: Workers
) -> tuple[list[Path], list[RejectedFile]]:
    """The files of a source in order, and those that are refused by their name or kind alone.

    Videos that are made are written into `made_videos_dir`, which is left empty otherwise; those behind a URL are
    fetched into `fetched_dir`, which is left alone otherwise.
    Raises SourceError where the source cannot be used as a whole.
    """
    if is_url(source):
        _empty(made_videos_dir)
        return _fetched(source, fetched_dir)
    path = existing(source, made_videos_dir)
    if is_description(path):
        make_videos(synth_params(path), seed, made_videos_dir, workers)
        return _sorted_out(entries(made_videos_dir))
    _empty(made_videos_dir)
    return _sorted_out(entries(path))


def require_usable_source(source: str, made_videos_dir: Path, below: Path = Path()) -> None:
    """Raise SourceError or ConfigError where the path `source`, relative to `below`, is missing, unreadable, empty or
    of the wrong kind. Looks no further than the first file of a video suffix, and opens none.
    """
    path = existing(str(below / _at_home(Path(source))), made_videos_dir)
    if is_description(path):
        synth_params(path)
    elif path.is_file():
        require_any(_names(path), source)
    else:
        refused: list[Entry] = []
        require_any(next(_walk(path, refused), None) or refused, source)


def require_any(found: object, source: str) -> None:
    """Raise SourceError where nothing was found."""
    if not found:
        raise SourceError(f"no videos under {source}: put {', '.join(SUFFIXES)} files there or name another folder")


def existing(source: str, made_videos_dir: Path) -> Path:
    """The path of a source that is there and may be read. Raises SourceError otherwise."""
    path = _at_home(Path(source))
    _check(path)
    if path.resolve().is_relative_to(made_videos_dir.resolve()):
        raise SourceError(f"{path} is where made videos go and is emptied: keep your videos in another folder")
    return path


def is_description(path: Path) -> bool:
    """Whether a source that is there describes videos to be made."""
    return path.suffix in DESCRIPTIONS and path.is_file()


def entries(path: Path) -> list[Entry]:
    """What a list names, in its order, or what lies below a folder and has a video suffix or is a link, sorted.

    Raises SourceError where a list is none.
    """
    return _in_list(path) if path.is_file() else _in_folder(path)


def videos_below(url: str) -> list[RemoteFile]:
    """Every file of a video suffix below the folder at `url`, by name. Raises SourceError where it is out of reach."""
    return [remote for remote in remotes_below(url) if PurePosixPath(remote.name).suffix.lower() in SUFFIXES]


def _sorted_out(found: list[Entry]) -> tuple[list[Path], list[RejectedFile]]:
    rejected = [RejectedFile(printable(entry.path), *entry.refusal) for entry in found if entry.refusal]
    return [entry.path for entry in found if entry.refusal is None], rejected


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _check(source: Path) -> None:
    try:
        mode = source.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"the source {source} does not exist: set ingest.source to a folder of videos") from None
    except OSError as error:
        raise SourceError(f"the source {source} cannot be read ({error.strerror}): name another folder") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise SourceError(f"the source {source} is neither a folder nor a file: set ingest.source to a folder")
    if stat.S_ISREG(mode) and source.suffix not in (*LISTS, *DESCRIPTIONS):
        raise SourceError(
            f"the source {source} is one file: name the folder that holds it, a list of paths (.txt, .parquet), or a "
            ".yaml of made videos"
        )
    if not os.access(source, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise SourceError(f"the source {source} cannot be read: give yourself the right to list it (chmod u+rx)")


def synth_params(source: Path) -> SyntheticParams:
    """What a description says. Raises SourceError where it is no YAML, ConfigError where it has unknown fields."""
    try:
        section = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return config.build(SyntheticParams, section if isinstance(section, Mapping) else {}, str(source))


def _fetched(url: str, folder: Path) -> tuple[list[Path], list[RejectedFile]]:
    """Every video below the URL of a folder, brought into `folder`; what is refused goes by its URL."""
    videos = videos_below(url)
    refusals = {remote.name: _bad_name(Path(remote.name)) or _ambiguous(remote.name) for remote in videos}
    rejected = [RejectedFile(remote.url, *refusal) for remote in videos if (refusal := refusals[remote.name])]
    wanted = [remote for remote in videos if refusals[remote.name] is None]
    failed = fetch(url, wanted, folder)
    return [folder / remote.name for remote in wanted if remote.name not in failed], [*rejected, *failed.values()]


def _ambiguous(name: str) -> tuple[str, str] | None:
    """A key of an object store may be no path: only one that is its path's plain form has a place of its own."""
    if PurePosixPath(name).is_absolute() or str(PurePosixPath(name)) != name:
        return "bad_name", "the name is no plain path (//, /./ or / at its start): rename the object"
    return None


def _in_list(path: Path) -> list[Entry]:
    """The files that a list names, relative to the list's folder; whoever lists a path means it, link or not.

    A file that is named in several ways (a.mp4, ./a.mp4, /videos/a.mp4) goes by the first of them; a link to a file is
    another file.
    """
    found: dict[Path, Entry] = {}
    for name in map(Path, dict.fromkeys(_names(path))):
        refusal = _bad_name(name)
        named = path.parent / (_at_home(name) if refusal is None else name)
        place = Path(os.path.realpath(named.parent)) / named.name if refusal is None else named
        if place not in found:
            found[place] = Entry(printable(name), named, refusal or _bad_kind(named))
    return list(found.values())


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            names = [str(name) for name in pq.read_table(path, columns=["path"])["path"].to_pylist() if name]
        else:
            # A name may hold what `splitlines` takes for the end of a line; a mark at the start of the file is no name.
            lines = path.read_bytes().decode("utf-8-sig").split("\n")
            names = [line.removesuffix("\r") for line in lines if line.strip()]
    except (pa.ArrowInvalid, KeyError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is no list of videos ({' '.join(str(error).split())}): one path a line, or a parquet column 'path'"
        ) from None
    if any(map(is_url, names)):
        raise SourceError(
            f"{path} names URLs, and a list names files here: set ingest.source to the URL of their folder"
        )
    return names


def _at_home(named: Path) -> Path:
    """~ and ~name as the home of a user, where there is such a user: else it is a name like any other."""
    try:
        return named.expanduser()
    except RuntimeError:
        return named


def _in_folder(folder: Path) -> list[Entry]:
    root = folder.resolve()
    refused: list[Entry] = []
    found = [
        Entry(printable(named), path, _bad_name(named) or _bad_kind(path, root))
        for path in _walk(folder, refused)
        for named in (path.relative_to(folder),)
    ]
    return sorted([*found, *refused], key=lambda entry: entry.path)


def _walk(folder: Path, refused: list[Entry]) -> Iterator[Path]:
    """Files of a video suffix and links to folders; folders that cannot be listed are added to `refused`."""

    def refuse(error: OSError) -> None:
        path = Path(error.filename)
        refused.append(Entry(printable(path.relative_to(folder)), path, ("unreadable", error.strerror or "")))

    for parent, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        videos = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        yield from (Path(parent) / name for name in (*links, *videos))


def _bad_name(named: Path) -> tuple[str, str] | None:
    """`named` as the source names it: below the folder, or in the list."""
    if printable(named) != str(named):
        return "bad_name", "the name is not valid UTF-8: rename the file"
    if any(unicodedata.category(character) == "Cc" for character in str(named)):
        return "bad_name", "the name holds a line break or another control character: rename the file"
    if ".." in named.parts:
        return "bad_name", "the name leads upwards (..): name the file from where it lies"
    return None


def _bad_kind(path: Path, root: Path | None = None) -> tuple[str, str] | None:
    """What a file that must lie within `root`, walked without following links, is refused for, unopened."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            target = path.resolve(strict=True)
            if root is not None and not target.is_relative_to(root):
                return "outside_source", f"it leads to {printable(target)}"
            mode = target.stat().st_mode
    except RuntimeError:
        return "unreadable", "a link that leads to itself"
    except OSError as error:
        return "unreadable", error.strerror or ""
    if stat.S_ISREG(mode):
        return None
    return "unreadable", "a folder, or a link to one" if stat.S_ISDIR(mode) else "not a regular file"


def printable(path: Path) -> str:
    """The path as valid text, for tables; a name that is not UTF-8 is shown with escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
