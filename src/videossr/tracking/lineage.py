"""What a run or a model was made of: the commit of the code, the hashes in `dvc.lock`, the parameters."""

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from videossr.errors import PolicyError


@dataclass(frozen=True)
class Lineage:
    """What a model was made of: the code's commit, the hash of `dvc.lock`, each output's hash there, the parameters."""

    commit: str
    lock: str
    data: Mapping[str, str]
    params: Mapping[str, Any]

    @property
    def policy(self) -> str:
        """The hash by which DVC knows `models/policy`."""
        return self.data["models/policy"]


def read_lineage(project: Path) -> Lineage:
    """Read the lineage of what lies in the project now.

    Raises PolicyError when no policy has been trained.
    """
    lock = project / "dvc.lock"
    data = locked_outputs(project)
    if "models/policy" not in data:
        raise PolicyError("there is no trained policy to register: run the pipeline first (make run)")
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    return Lineage(git_commit(project), hashlib.sha256(lock.read_bytes()).hexdigest(), data, params)


def locked_outputs(project: Path) -> dict[str, str]:
    """Path -> MD5 of every output that `dvc.lock` knows; empty before the first stage."""
    lock = project / "dvc.lock"
    if not lock.exists():
        return {}
    stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages") or {}
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def git_commit(project: Path) -> str:
    """The commit of the code, `-dirty` where files differ from it; `not in git` for an unpacked archive."""
    command = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "not in git"


def run_tags(stage: str, commit: str) -> dict[str, str]:
    """What a run says of where it comes from."""
    return {"dvc.stage": stage, "git.commit": commit, "mlflow.source.git.commit": commit}
