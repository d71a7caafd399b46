"""What is checked before the first stage starts, so that a mistake costs a second and not an hour."""

import os
import stat
import subprocess
from pathlib import Path

from flows.runtime import PARAMS
from videossr.errors import ConfigError, SourceError
from videossr.fetching import is_url, require_reachable
from videossr.recipe import Recipe, load_recipe


def check(project: Path) -> Recipe:
    """Check parameters, source and workspace; returns the run as it is written in `params.yaml`.

    Raises ConfigError or SourceError with the sentence for the person who wrote it.
    """
    recipe = load_recipe(project / PARAMS)
    if is_url(recipe.ingest.source):
        check_url(recipe.ingest.source)
    else:
        check_source(project / recipe.ingest.source)
    _mend_workspace(project)
    return recipe


def check_url(url: str) -> None:
    """The URL of a folder must be one that DVC can watch, and within reach. Raises SourceError otherwise."""
    from dvc.config import ConfigError as NotKnown
    from dvc.fs import get_cloud_fs

    require_reachable(url)
    scheme = url.split("://")[0]
    try:
        get_cloud_fs({}, url=url)
    except NotKnown:
        raise SourceError(
            f"ingest.source must be watched by DVC, which knows no {scheme}:// : name a folder, or a URL of s3, gs, "
            "azure, ssh, hdfs or webdav"
        ) from None
    except ImportError:
        raise SourceError(f"DVC needs its plugin for {scheme}://: pip install 'dvc[{scheme}]'") from None


def check_source(source: Path) -> None:
    """A source is a file or a folder in which everything can be read: DVC hashes all of it.

    Raises SourceError otherwise. A file that is no video is no obstacle: ingest lists it with its reason.
    """
    if not source.exists():
        raise SourceError(f"ingest.source must exist, '{source}' does not: name a folder (videossr use FOLDER)")
    if not os.access(source, os.R_OK | (os.X_OK if source.is_dir() else 0)):
        raise SourceError(f"ingest.source must be readable, '{source}' is not: change its permissions")
    if source.is_file():
        return
    for folder, folders, files in os.walk(source, onerror=_unreadable, followlinks=True):
        for name in [*folders, *files]:
            _check_entry(Path(folder) / name)


def _check_entry(path: Path) -> None:
    remedy = "move it out of the source folder"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SourceError(
            f"everything in the source must be readable, {str(path)!r} is not ({error.strerror}): {remedy}"
        ) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SourceError(f"the source may hold files and folders only, {str(path)!r} is neither: {remedy}")
    if not os.access(path, os.R_OK):
        raise SourceError(f"everything in the source must be readable, {str(path)!r} is not: change its permissions")


def _unreadable(error: OSError) -> None:
    raise SourceError(f"everything in the source must be readable, '{error.filename}' is not: {error.strerror}")


def _mend_workspace(project: Path) -> None:
    # A DVC process that was killed can leave an empty lock file, which blocks every later command.
    lock = project / ".dvc" / "tmp" / "rwlock"
    if lock.exists() and lock.stat().st_size == 0:
        lock.unlink()
    # A copy without git (a downloaded archive) is used as it is; DVC wants to be told.
    inside = subprocess.run(["git", "-C", str(project), "rev-parse"], capture_output=True, check=False)
    if inside.returncode != 0:
        config = project / ".dvc" / "config.local"
        config.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    if not (project / ".dvc" / "config").exists():
        raise ConfigError(f"no pipeline at {project}: run from the project root, where dvc.yaml and .dvc lie")
