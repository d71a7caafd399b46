"""DVC experiments: queue runs with changed parameters, run the queue, and read outputs of the finished ones."""

import json
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCMError, SCMError

from videossr.errors import ConfigError, StoreError, VideoSSRError

_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")


def require_commit(project: Path) -> None:
    """Raise ConfigError where the project has no git commit, which every experiment is based on."""
    try:
        with _open(project) as repo:
            repo.experiments.ls()
    except (NoSCMError, SCMError, DvcException) as error:
        raise ConfigError(
            f"experiments need the project in git with a commit, DVC says '{error}': run git init, git add and git "
            "commit first, and remove core.no_scm from .dvc/config.local"
        ) from None


def run_queued(runs: Mapping[str, Mapping[str, Any]], target: str, project: Path) -> None:
    """Run the stage `target` and what it needs once for each of `runs`: the name of an experiment -> its parameters.

    An experiment that has finished is not run again; one that a killed call has left is run or waited for. Raises
    VideoSSRError where one fails.
    """
    missing = runs.keys() - _finished(project)
    if not missing:
        return
    for name in [name for name in runs if name in missing - _clean_queue(project, missing)]:
        queue_experiment(name, runs[name], target, project)
    subprocess.run([*_DVC, "exp", "run", "--run-all", "--jobs", "1"], cwd=project, check=False)
    failed = sorted(missing - _finished(project))
    if failed:
        raise VideoSSRError(
            f"{len(failed)} of {len(missing)} variants failed, the first is {failed[0]}: `dvc queue logs {failed[0]}` "
            "shows why, and the same command runs them again; finished variants are kept"
        )


def queue_experiment(name: str, changes: Mapping[str, Any], target: str, project: Path) -> None:
    """Add a run of the stage `target` with changed parameters to the queue. Raises VideoSSRError where DVC cannot.

    While DVC does this, it changes `params.yaml` in the workspace for a moment. It is therefore in a session of its
    own: what kills this process and its group does not stop it halfway.
    """
    settings = [part for key, value in changes.items() for part in ("-S", f"++{key}={to_hydra(value)}")]
    command = [*_DVC, "exp", "run", "--queue", "--name", name, *settings, target]
    queued = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True, start_new_session=True)
    if queued.returncode != 0:
        said = " ".join(queued.stderr.split())[-300:]
        raise VideoSSRError(f"dvc cannot queue the experiment {name}: {said}")


def read_output(experiment: str, path: str) -> bytes:
    """The content of an output of a finished experiment of this project. Raises StoreError where it is gone."""
    try:
        return bytes(DVCFileSystem(rev=experiment).read_bytes(path))
    except (DvcException, SCMError, OSError) as error:
        raise _gone(experiment, path, error) from None


def fetch_output(experiment: str, path: str, out: Path) -> None:
    """Copy a folder of a finished experiment of this project to `out`. Raises StoreError where it is gone."""
    try:
        DVCFileSystem(rev=experiment).get(path, str(out), recursive=True)
    except (DvcException, SCMError, OSError) as error:
        raise _gone(experiment, path, error) from None


def to_hydra(value: Any) -> str:
    """A value as `dvc exp run -S` reads it: lists and maps without quotes around keys, strings in single quotes."""
    match value:
        case str():
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case Mapping():
            return "{" + ",".join(f"{key}:{to_hydra(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(to_hydra, value)) + "]"
        case _:
            return json.dumps(value)


def _gone(experiment: str, path: str, error: Exception) -> StoreError:
    return StoreError(
        f"{path} of the experiment {experiment} cannot be read ({error}): remove the experiment (dvc exp remove "
        f"{experiment}) and run again"
    )


def _finished(project: Path) -> set[str]:
    """The names of the experiments of the current commit that have ended well."""
    with _open(project) as repo:
        return {name for named in repo.experiments.ls().values() for name, _ in named}


def _clean_queue(project: Path, names: AbstractSet[str]) -> set[str]:
    """Those of the experiments `names` that wait in the queue or run; what else a killed call left of them is removed.

    An experiment whose worker was killed seems to run forever.
    """
    with _open(project) as repo:
        queue = repo.experiments.celery_queue
        found = {item["name"]: item["status"] for item in queue.status() if item["name"] in names}
        has_worker = bool(queue.worker_status())
        alive = {name for name, status in found.items() if status == "Queued" or (status == "Running" and has_worker)}
        dead = sorted(found.keys() - alive)
        if abandoned := [name for name in dead if found[name] == "Running"]:
            queue.kill(abandoned, force=True)
        if dead:
            queue.remove(dead)
        return alive


def _open(project: Path) -> Repo:
    """The project, where each call waits for another DVC process as `dvc --wait-for-lock` does."""
    return Repo(str(project), _wait_for_lock=True)
