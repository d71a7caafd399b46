"""The lineage of a run or a model: the commit of the code, the hashes in `dvc.lock`, the parameters."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videossr import config
from videossr.errors import PolicyError
from videossr.tracking.uncommitted import git_commit

# The tag of the runs that made or scored a policy: the SHA-256 of its files (`folder_fingerprint`).
POLICY_TAG = "policy.sha256"


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


def read_input_hashes(project: Path, stage: str) -> dict[str, str]:
    """Path -> MD5, according to `dvc.lock`, of every output of other stages that `stage` reads according to `dvc.yaml`.

    Empty where there is no such stage.
    """
    graph = project / "dvc.yaml"
    stages = config.read_yaml(graph)["stages"] if graph.exists() else {}
    names = [item if isinstance(item, str) else next(iter(item)) for item in stages.get(stage, {}).get("deps", [])]
    hashes = read_output_hashes(project)
    return {name: hashes[name] for name in names if name in hashes}


def run_tags(stage: str, commit: str) -> dict[str, str]:
    """The MLflow tags of a run: its stage and its commit."""
    return {"dvc.stage": stage, "git.commit": commit, "mlflow.source.git.commit": commit}
