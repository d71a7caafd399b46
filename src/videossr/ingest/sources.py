"""The kinds of a source (a folder, a list of paths, a description of videos to make), and checks of the whole source.

The URL of a folder is checked in `remote`.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from videossr import config
from videossr.errors import SourceError
from videossr.ingest.listing import VIDEO_SUFFIXES, expand_home, has_entries
from videossr.ingest.synthetic import SyntheticParams

_LIST_SUFFIXES = (".txt", ".parquet")
_DESCRIPTION_SUFFIXES = (".yaml", ".yml")


def require_usable_source(source: str, made_videos_dir: Path, below: Path = Path()) -> None:
    """Raise SourceError or ConfigError where the path `source`, relative to `below`, is missing, unreadable, empty or
    of the wrong kind. Stops at the first file with a video suffix, and opens none.
    """
    if not source:
        raise SourceError("ingest.source is empty: set it to a folder of videos")
    path = require_source(str(below / expand_home(Path(source))), made_videos_dir)
    if is_description(path):
        parse_description(read_description(path), path)
    else:
        require_not_empty(has_entries(path), source)


def require_source(source: str, made_videos_dir: Path) -> Path:
    """The path of a source that exists, is of a known kind and may be read. Raises SourceError otherwise."""
    path = expand_home(Path(source))
    _require_known_kind(path)
    if path.resolve().is_relative_to(made_videos_dir.resolve()):
        raise SourceError(f"{path} is the folder of made videos, which is emptied: keep your videos in another folder")
    return path


def require_not_empty(has_videos: object, source: str) -> None:
    """Raise SourceError where `has_videos` is false, or an empty collection."""
    if not has_videos:
        raise SourceError(
            f"no videos under {source}: put {', '.join(VIDEO_SUFFIXES)} files there or name another folder"
        )


def is_description(path: Path) -> bool:
    """Whether an existing source describes videos to make."""
    return path.suffix in _DESCRIPTION_SUFFIXES and path.is_file()


def read_description(path: Path) -> str:
    """The text of a description. Raises SourceError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not valid YAML in UTF-8: {error}") from None


def parse_description(text: str, path: Path) -> SyntheticParams:
    """The parameters in a description, read from `path`. Raises ConfigError where it is not YAML, or has unknown
    fields.
    """
    section = config.parse_yaml(text, path)
    return config.build(SyntheticParams, section if isinstance(section, Mapping) else {}, str(path))


def _require_known_kind(source: Path) -> None:
    try:
        mode = source.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"the source {source} does not exist: set ingest.source to a folder of videos") from None
    except OSError as error:
        raise SourceError(f"the source {source} cannot be read ({error.strerror}): name another folder") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise SourceError(f"the source {source} is neither a folder nor a file: set ingest.source to a folder")
    if stat.S_ISREG(mode) and source.suffix not in (*_LIST_SUFFIXES, *_DESCRIPTION_SUFFIXES):
        raise SourceError(
            f"the source {source} is one file: name its folder, a list of paths (.txt, .parquet), or a .yaml that "
            "describes videos to make"
        )
    if not os.access(source, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise SourceError(f"the source {source} cannot be read: give yourself the right to list it (chmod u+rx)")
