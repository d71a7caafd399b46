"""Checks before the first stage starts, so that a mistake is found in a second and not after an hour."""

import re
import subprocess
from pathlib import Path

import psutil

from flows.list import MADE_VIDEOS
from flows.runtime import PARAMS
from videossr.errors import ConfigError
from videossr.recipe import Recipe, load_recipe
from videossr.runnable import require_files_and_libraries, require_source


def check(project: Path) -> Recipe:
    """Check parameters, source, files, libraries and workspace; returns the run that `params.yaml` describes.

    Raises VideoSSRError.
    """
    recipe = load_recipe(project / PARAMS)
    require_source(recipe, project, project / MADE_VIDEOS)
    require_files_and_libraries(recipe, project)
    _repair_workspace(project)
    return recipe


def _repair_workspace(project: Path) -> None:
    if not (project / ".dvc" / "config").exists():
        raise ConfigError(f"no pipeline at {project}: run from the project root, which contains dvc.yaml and .dvc")
    _remove_stale_lock(project / ".dvc" / "tmp" / "rwlock")
    # Without git (a downloaded archive) DVC works only with this setting.
    inside = subprocess.run(["git", "-C", str(project), "rev-parse"], capture_output=True, check=False)
    if inside.returncode != 0:
        _set_no_scm(project / ".dvc")


def _remove_stale_lock(lock: Path) -> None:
    """Remove the lock file of killed DVC processes: DVC warns of each in every stage, and an empty file blocks it."""
    if not lock.exists():
        return
    text = lock.read_text(encoding="utf-8")
    if not any(psutil.pid_exists(int(pid)) for pid in re.findall(r'"pid": *(\d+)', text)):
        lock.unlink()


def _set_no_scm(folder: Path) -> None:
    """Set `core.no_scm` in .dvc/config.local, and keep what else the user has there (remotes, the cache's folder)."""
    from dvc.config import Config
    from dvc.config import ConfigError as DvcConfigError

    try:
        with Config(str(folder)).edit("local") as local:
            local.setdefault("core", {})["no_scm"] = True
    except DvcConfigError as error:
        raise ConfigError(f"DVC cannot read {folder / 'config.local'} ({error}): correct it") from None
