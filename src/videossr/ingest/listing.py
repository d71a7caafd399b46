"""Videos of a local source: the files below a folder, or the paths in a list. No file is opened.

Links in a folder are not followed, so that nothing outside it is read. A list may name links and files anywhere,
because its author wrote each path.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import SourceError
from videossr.ingest.remote import is_url

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob"),
    *(".wmv", ".flv", ".ogv", ".mxf", ".gif"),
)

# What a run writes in the folder of a project, and what tools keep there.
_OUTPUTS = ("data", "models", "reports", "work", "mlruns")
_PROJECT_MARKS = ("dvc.yaml", "params.yaml", "flows")


@dataclass(frozen=True)
class ListedFile:
    """A file to inspect: `name` below the folder or as the list gives it, size in bytes, time of its last change."""

    name: str
    size: int
    mtime_ns: int
    is_readable: bool = True  # by permission; it cannot be inspected otherwise


@dataclass(frozen=True)
class RejectedEntry:
    """An entry that is rejected for its name or kind alone; `name` is printable."""

    name: str
    reason: str
    detail: str


LocalEntry = ListedFile | RejectedEntry


def list_entries(source: Path) -> list[LocalEntry]:
    """The paths that a list names, in its order, or the videos and links below a folder, sorted by path.

    Raises SourceError where a file is not a list of paths.
    """
    return _list_named_files(source) if source.is_file() else _list_folder(source)


def count_other_files(names: Iterable[str]) -> Counter[str]:
    """How many of the files `names` have no video suffix, by suffix in lower case; they are not listed."""
    suffixes = (PurePath(name).suffix.lower() for name in names)
    return Counter(suffix or "(no suffix)" for suffix in suffixes if suffix not in VIDEO_SUFFIXES)


def iter_names(folder: Path) -> Iterator[str]:
    """The names of all files below a folder; those in folders that cannot be listed are left out."""
    return (name for _, _, names in _walk_folders(folder) for name in names)


def find_outputs(folder: Path) -> list[Path]:
    """The folders below `folder` that `list_entries` passes over: there a project of VideoSSR keeps what it wrote."""
    outputs: list[Path] = []
    for _ in _walk_folders(folder, outputs=outputs):
        pass
    return sorted(outputs)


def has_entries(source: Path) -> bool:
    """Whether `list_entries` would return any entry. In a folder, the search stops at the first one."""
    if source.is_file():
        return bool(_read_names(source))
    unlistable: dict[Path, str] = {}
    return next(_walk(source, unlistable), None) is not None or bool(unlistable)


def entry_path(source: Path, entry: LocalEntry) -> Path:
    """The path of an entry of `source`: below the folder, or relative to the list's folder with ~ expanded."""
    if source.is_dir():
        return source / entry.name
    has_bad_name = isinstance(entry, RejectedEntry) and entry.reason == "bad_name"
    return source.parent / (entry.name if has_bad_name else expand_home(Path(entry.name)))


def expand_home(path: Path) -> Path:
    """`path` with ~ and ~user expanded; unchanged where there is no such user, since ~ is then part of a name."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def printable(path: Path) -> str:
    """The path as valid text, for tables; bytes that are not UTF-8 are shown as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def name_problem(name: Path) -> tuple[str, str] | None:
    """Reason and detail where `name`, as the source gives it, cannot be used."""
    if printable(name) != str(name):
        return "bad_name", "the name is not valid UTF-8: rename the file"
    if any(unicodedata.category(character) == "Cc" for character in str(name)):
        return "bad_name", "the name holds a line break or another control character: rename the file"
    if ".." in name.parts:
        return "bad_name", "the name contains '..': write the path without it"
    return None


def _list_named_files(source: Path) -> list[LocalEntry]:
    """The files that a list names, each once: a.mp4, ./a.mp4 and /videos/a.mp4 may be one file; its first name is
    used. A link to a file is another file.
    """
    entries: dict[Path, LocalEntry] = {}
    for name in map(Path, dict.fromkeys(_read_names(source))):
        problem = name_problem(name)
        path = source.parent / (name if problem else expand_home(name))
        identity = path if problem else Path(os.path.realpath(path.parent)) / path.name
        if identity not in entries:
            entries[identity] = _entry(name, path)
    return list(entries.values())


def _read_names(source: Path) -> list[str]:
    try:
        if source.suffix == ".parquet":
            names = [str(name) for name in pq.read_table(source, columns=["path"])["path"].to_pylist() if name]
        else:
            # Not `splitlines`, which splits at characters that a name may contain. A byte order mark is not a name.
            lines = source.read_bytes().decode("utf-8-sig").split("\n")
            names = [line.removesuffix("\r") for line in lines if line.strip()]
    except (pa.ArrowInvalid, KeyError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{source} is not a list of videos ({' '.join(str(error).split())}): write one path per line, or a "
            "parquet column 'path'"
        ) from None
    if any(map(is_url, names)):
        raise SourceError(
            f"{source} contains URLs, but a list may contain local paths only: set ingest.source to the folder's URL"
        )
    return names


def _list_folder(folder: Path) -> list[LocalEntry]:
    root = folder.resolve()
    unlistable: dict[Path, str] = {}
    paths = [*_walk(folder, unlistable)]
    entries = {path: _entry(path.relative_to(folder), path, root) for path in paths}
    for path, detail in unlistable.items():
        entries[path] = RejectedEntry(printable(path.relative_to(folder)), "unreadable", detail)
    return [entries[path] for path in sorted(entries)]


def _walk(folder: Path, unlistable: dict[Path, str]) -> Iterator[Path]:
    """Yield files with a video suffix and links to folders; adds folders that cannot be listed to `unlistable`."""

    def add_unlistable(error: OSError) -> None:
        unlistable[Path(error.filename)] = error.strerror or ""

    for parent, folders, names in _walk_folders(folder, add_unlistable):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        yield from (Path(parent) / name for name in (*links, *videos))


def _walk_folders(
    folder: Path, onerror: Callable[[OSError], None] | None = None, outputs: list[Path] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` without the outputs of projects, which are added to `outputs`."""
    for parent, folders, names in os.walk(folder, onerror=onerror):
        passed_over = _outputs_in(Path(parent), folders)
        if outputs is not None:
            outputs += (Path(parent) / name for name in passed_over)
        folders[:] = [name for name in folders if name not in passed_over]
        yield parent, folders, names


def _outputs_in(parent: Path, folders: Iterable[str]) -> set[str]:
    """Those of `folders` in `parent` that hold outputs, caches or tools of a project; none where it is no project."""
    if not all((parent / mark).exists() for mark in _PROJECT_MARKS):
        return set()
    return {name for name in folders if name in _OUTPUTS or name.startswith(".")}


def _entry(name: Path, path: Path, root: Path | None = None) -> LocalEntry:
    """The entry of the file at `path`, which must lie within `root`; None allows any place."""
    problem = name_problem(name) or _kind_problem(path, root)
    if problem:
        return RejectedEntry(printable(name), *problem)
    try:
        file_stat = path.stat()
    except OSError as error:
        return RejectedEntry(printable(name), "unreadable", error.strerror or "")
    # A change of permissions does not change the modification time, but decides whether ingest can read the file.
    return ListedFile(printable(name), file_stat.st_size, file_stat.st_mtime_ns, os.access(path, os.R_OK))


def _kind_problem(path: Path, root: Path | None) -> tuple[str, str] | None:
    """Reason and detail where `path` is not a regular file, or is a link to a file outside `root`."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            target = path.resolve(strict=True)
            if root is not None and not target.is_relative_to(root):
                return "outside_source", f"it points to {printable(target)}"
            mode = target.stat().st_mode
    except RuntimeError:
        return "unreadable", "a link that points to itself"
    except OSError as error:
        return "unreadable", error.strerror or ""
    if stat.S_ISREG(mode):
        return None
    return "unreadable", "a folder, or a link to one" if stat.S_ISDIR(mode) else "not a regular file"
