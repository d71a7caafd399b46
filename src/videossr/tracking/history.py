"""Where a registered version comes from, and taking a champion back."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import PolicyError
from videossr.tracking.database import MLFLOW_NAME, mlflow_client
from videossr.tracking.lineage import POLICY_TAG
from videossr.tracking.policy_runs import PolicyRun, runs_of_policy
from videossr.tracking.registry import (
    CHAMPION,
    CROWNED,
    PATCH,
    RegisteredVersion,
    champion,
    load_artifact,
    set_champion,
    versions,
)

_WITHDRAWN = "videossr.withdrawn"
_REFERENCE = re.compile(rf"(?:models:/{MLFLOW_NAME}[/@])?([0-9]+|{CHAMPION})")


@dataclass(frozen=True)
class Origin:
    """What a version was made from.

    Git commit, SHA-256 of `dvc.lock`, MD5 of each output by its path, the text of `params.yaml` (None where the run
    that registered it was removed), the runs that trained and scored its policy, and the patch of a commit that files
    differed from (None: no difference).
    """

    version: RegisteredVersion
    commit: str
    lock: str
    hashes: dict[str, str]
    params: str | None
    runs: list[PolicyRun]
    patch: Path | None

    def rebuild(self) -> list[str]:
        """The commands that make the version again; `dvc pull` saves what follows where a remote has its outputs."""
        apply = [f"git apply {shlex.quote(str(self.patch))}"] if self.patch else []
        return [f"git checkout {self.commit.removesuffix('-dirty')}", *apply, "dvc pull", "dvc repro", "make promote"]


def find_version(project: Path, reference: str) -> RegisteredVersion:
    """The version that `models:/videossr@champion`, `models:/videossr/3`, `champion` or `3` names.

    Raises PolicyError where there is none.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise PolicyError(f"a version is named models:/{MLFLOW_NAME}@{CHAMPION} or by its number, got '{reference}'")
    if match[1] == CHAMPION:
        found = champion(project)
    else:
        found = next((version for version in versions(project) if version.number == int(match[1])), None)
    if found is None:
        known = ", ".join(str(version.number) for version in versions(project)) or "none"
        raise PolicyError(f"the registry has no version '{match[1]}' (registered: {known}): run `make promote` first")
    return found


def read_origin(project: Path, version: RegisteredVersion) -> Origin:
    """The origin of a version, from the tags that it was registered with and the run that registered it."""
    tags = mlflow_client(project).get_model_version(MLFLOW_NAME, str(version.number)).tags
    params, patch = (load_artifact(project, version, name) for name in ("params.yaml", PATCH))
    fingerprint = tags.get(POLICY_TAG, "")
    return Origin(
        version=version,
        commit=tags["git.commit"],
        lock=tags["dvc.lock"],
        hashes={name.removeprefix("md5:"): md5 for name, md5 in sorted(tags.items()) if name.startswith("md5:")},
        params=params.read_text(encoding="utf-8") if params else None,
        runs=runs_of_policy(project, fingerprint) if fingerprint else [],
        patch=patch,
    )


def withdrawn_because(project: Path, version: RegisteredVersion) -> str | None:
    """Why a version was taken back; None where it was not."""
    tags = mlflow_client(project).get_model_version(MLFLOW_NAME, str(version.number)).tags
    reason = tags.get(_WITHDRAWN)
    return None if reason is None else str(reason)


def withdraw_champion(project: Path, reason: str) -> tuple[RegisteredVersion, RegisteredVersion | None]:
    """Take the champion back; the champion before it is the champion again, or none is.

    Returns the withdrawn version and the present champion. A withdrawn version does not become champion again. Raises
    PolicyError where there is no champion.
    """
    present = champion(project)
    if present is None:
        raise PolicyError("there is no champion to take back: the registry has none")
    client = mlflow_client(project)
    client.set_model_version_tag(MLFLOW_NAME, str(present.number), _WITHDRAWN, reason)
    for version in reversed(versions(project)):
        tags = client.get_model_version(MLFLOW_NAME, str(version.number)).tags
        if version.number < present.number and CROWNED in tags and _WITHDRAWN not in tags:
            set_champion(project, version, f"version {present.number} was withdrawn: {reason}")
            return present, version
    client.delete_registered_model_alias(MLFLOW_NAME, CHAMPION)
    return present, None
