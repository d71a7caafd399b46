"""The lineage of a run or a model: the commit of the code, the hashes in `dvc.lock`, the parameters."""

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videossr import config
from videossr.errors import PolicyError


@dataclass(frozen=True)
class Lineage:
    """The origin of a model: git commit, SHA-256 of `dvc.lock`, MD5 of each output by its path, parameters."""

    commit: str
    lock: str
    data: Mapping[str, str]
    params: Mapping[str, Any]

    @property
    def policy(self) -> str:
        """The MD5 of `models/policy` according to DVC."""
        return self.data["models/policy"]


def read_lineage(project: Path) -> Lineage:
    """Read the lineage of the project's present outputs.

    Raises PolicyError when no policy has been trained.
    """
    lock = project / "dvc.lock"
    data = read_output_hashes(project)
    if "models/policy" not in data:
        raise PolicyError("there is no trained policy to register: run the pipeline first (make run)")
    params = config.load(project / "params.yaml")
    return Lineage(git_commit(project), hashlib.sha256(lock.read_bytes()).hexdigest(), data, params)


def read_output_hashes(project: Path) -> dict[str, str]:
    """Path -> MD5 of every output in `dvc.lock`; empty before the first stage has run."""
    lock = project / "dvc.lock"
    if not lock.exists():
        return {}
    stages = config.read_yaml(lock).get("stages") or {}
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def git_commit(project: Path) -> str:
    """The commit of the code, with `-dirty` when files differ from it; `not in git` outside a repository."""
    command = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else "not in git"


def run_tags(stage: str, commit: str) -> dict[str, str]:
    """The MLflow tags of a run: its stage and its commit."""
    return {"dvc.stage": stage, "git.commit": commit, "mlflow.source.git.commit": commit}
