"""Where videos come from: a folder, a list of paths, the URL of a folder, or a description of videos to be made."""

import os
import shutil
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tqdm import tqdm

from videossr import config
from videossr.errors import SourceError
from videossr.parallel import Workers
from videossr.records import Rejected
from videossr.synth import SynthParams, make_videos

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")
LISTS = (".txt", ".parquet")


def listed(source: str, seed: int, made_videos_dir: Path, workers: Workers) -> tuple[list[Path], list[Rejected]]:
    """The files of a source in order, and those that are refused by their name or kind alone.

    Videos that are made, or fetched from a URL, are written into `made_videos_dir`, which is left empty otherwise.
    Raises SourceError where the source cannot be used as a whole.
    """
    if "://" in source:
        return _fetched(source, made_videos_dir)
    path = Path(source).expanduser()
    if path.resolve().is_relative_to(made_videos_dir.resolve()):
        raise SourceError(f"{path} is where made videos go and is emptied: keep your videos in another folder")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        make_videos(_synth_params(path), seed, made_videos_dir, workers)
        return _in_folder(made_videos_dir)
    _check(path)
    shutil.rmtree(made_videos_dir, ignore_errors=True)
    made_videos_dir.mkdir(parents=True)
    return _in_list(path) if path.is_file() else _in_folder(path)


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
    """Fetch every video below the URL of a folder; what was fetched before a kill and has its size is kept."""
    try:
        system, root = fsspec.core.url_to_fs(url)
        found = system.find(root, detail=True)
    except (ImportError, OSError, ValueError) as error:
        raise SourceError(
            f"the source {url} cannot be listed ({error}): check it, and install '.[s3]' for S3"
        ) from None
    prefix = root.rstrip("/") + "/"
    names = {str(name).removeprefix(prefix): str(name) for name in found if Path(str(name)).suffix.lower() in SUFFIXES}
    rejected = [Rejected(_printable(Path(name)), *refusal) for name in names if (refusal := _bad_name(Path(name)))]
    wanted = {name: full for name, full in sorted(names.items()) if _bad_name(Path(name)) is None}
    for name, full in tqdm(wanted.items(), desc="fetch", unit="video"):
        _fetch(system, full, folder / name, found[full].get("size"))
    _drop_others(folder, {folder / name for name in wanted})
    paths, refused = _in_folder(folder)
    return paths, rejected + refused


def _fetch(system: fsspec.AbstractFileSystem, name: str, path: Path, size: int | None) -> None:
    if path.is_file() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    try:
        system.get_file(name, str(unfinished))
    except OSError as error:
        raise SourceError(f"{name} cannot be fetched ({error}): run again, what has come is kept") from None
    unfinished.replace(path)


def _drop_others(folder: Path, wanted: set[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        if path not in wanted and not path.is_dir():
            path.unlink()


def _in_list(path: Path) -> tuple[list[Path], list[Rejected]]:
    """The files that a list names, relative to the list's folder; whoever lists a path means it, link or not."""
    paths: list[Path] = []
    rejected: list[Rejected] = []
    for name in dict.fromkeys(_names(path)):
        named = path.parent / Path(name).expanduser()
        refusal = _bad_name(Path(name)) or _bad_kind(named)
        if refusal is None:
            paths.append(named)
        else:
            rejected.append(Rejected(_printable(named), *refusal))
    return paths, rejected


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            return [str(name) for name in pq.read_table(path, columns=["path"])["path"].to_pylist() if name]
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (pa.ArrowInvalid, KeyError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is no list of videos ({' '.join(str(error).split())}): one path a line, or a parquet column 'path'"
        ) from None


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
