"""The registered model `videossr`: its versions, their files, and the alias `champion`."""

import importlib.metadata
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.errors import PolicyError
from videossr.tracking.database import MLFLOW_NAME, configured_mlflow, mlflow_client, run_page
from videossr.tracking.lineage import POLICY_TAG, Lineage, run_tags
from videossr.tracking.mlflow_runs import timed_name
from videossr.tracking.policy_runs import PolicyRun, runs_of_policy
from videossr.tracking.uncommitted import uncommitted_changes

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

CHAMPION = "champion"
PATCH = "uncommitted.diff"
CROWNED = "videossr.crowned"  # the tag of a version that is or was champion: why
_POLICY_TAG = "videossr.policy"
_DESCRIPTION_CHARACTERS = 5000
_SERVING_REQUIREMENTS = ("torch", "torchvision", "transformers", "av", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry: its number, the run that registered it, and the DVC hash of its policy."""

    number: int
    run_id: str
    policy: str


def register_policy(
    project: Path,
    policy_dir: Path,
    lineage: Lineage,
    serving: Mapping[str, Any],
    results: Mapping[str, Any],
    card: str,
    fingerprint: str,
) -> RegisteredVersion:
    """Register the policy as a new version of the model `videossr`, or return the version that it already has.

    The checkpoint is copied to the run's artifacts, so that later training cannot change a registered model. `serving`
    holds the parameters for reading videos (`served.py`). `results` is the content of `reports/viubench.json`; its
    scores become metrics of the model. `card` is its model card in Markdown. The run that registers it names the run
    that trained the policy of this `fingerprint` (`POLICY_TAG`), and is below the same run of the pipeline.
    """
    existing = next((version for version in versions(project) if version.policy == lineage.policy), None)
    if existing is not None:
        return existing
    mlflow = configured_mlflow(project)
    trained = next((run for run in runs_of_policy(project, fingerprint) if run.stage == "train"), None)
    tags = {**run_tags("register", lineage.commit), "dvc.lock": lineage.lock, POLICY_TAG: fingerprint}
    if trained is not None:
        tags |= {"training.run": trained.run_id, "mlflow.note.content": _training_link(project, trained)}
    run_name, parent = timed_name("register"), (trained.parent or None) if trained else None
    with mlflow.start_run(run_name=run_name, parent_run_id=parent) as run, warnings.catch_warnings():
        # MLflow would run the model on an input example to infer the signature. The signature is given instead.
        warnings.filterwarnings("ignore", message=".*input example.*")
        mlflow.set_tags(tags)
        if changes := uncommitted_changes(project):
            mlflow.log_text(changes, PATCH)
        origin = {"commit": lineage.commit, "dvc.lock": lineage.lock, "data": dict(lineage.data)}
        mlflow.log_dict(origin, "lineage.json")
        mlflow.log_dict(dict(lineage.params), "params.yaml")
        mlflow.log_text(card, "model_card.md")
        model = mlflow.pyfunc.log_model(
            name="policy",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"checkpoint": str(policy_dir)},
            model_config={**serving, "is_trusted": False},
            signature=_signature(),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _SERVING_REQUIREMENTS],
            metadata={"dvc.lock": lineage.lock, "policy.md5": lineage.policy},
        )
        scores = results["rows"]["after"]
        for name in [*results["columns"], "overall"]:
            mlflow.log_metric(f"viubench/{name}", scores[name], model_id=model.model_id)
    client, links = mlflow_client(project), {POLICY_TAG: fingerprint}
    if trained is not None:
        links |= {"training.run": trained.run_id}
    version = _create_version(client, run.info.run_id, model.model_id, lineage, links, card)
    for made in runs_of_policy(project, fingerprint):
        client.set_tag(made.run_id, "registered.version", str(version.number))
    return version


def _training_link(project: Path, trained: PolicyRun) -> str:
    return f"Registers the policy of [{trained.name}]({run_page(project, trained.run_id)})."


def _create_version(
    client: "MlflowClient", run_id: str, model_id: str, lineage: Lineage, links: Mapping[str, str], card: str
) -> RegisteredVersion:
    # One call creates the version with its tags, so that no version exists without its lineage.
    hashes = {f"md5:{path}": md5 for path, md5 in lineage.data.items()}
    tags = {_POLICY_TAG: lineage.policy, "git.commit": lineage.commit, "dvc.lock": lineage.lock, **links, **hashes}
    if not client.search_registered_models(f"name = '{MLFLOW_NAME}'"):
        client.create_registered_model(MLFLOW_NAME, description="Post-trained on samples made from unlabelled videos.")
    source, text = f"models:/{model_id}", _shortened(card)
    version = client.create_model_version(MLFLOW_NAME, source, run_id, tags, description=text, model_id=model_id)
    return _to_version(version)


def _shortened(card: str) -> str:
    """The card as the description of a version, which MLflow limits."""
    end = "\n\nThe rest is in `model_card.md` of the run that registered it.\n"
    return card if len(card) <= _DESCRIPTION_CHARACTERS else card[: _DESCRIPTION_CHARACTERS - len(end)] + end


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    inputs = Schema([ColSpec(DataType.string, "question"), ColSpec(Array(DataType.string), "videos")])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string, "answer")]))


def versions(project: Path) -> list[RegisteredVersion]:
    """All registered versions, oldest first."""
    found = mlflow_client(project).search_model_versions(f"name = '{MLFLOW_NAME}'")
    return sorted((_to_version(item) for item in found), key=lambda version: version.number)


def champion(project: Path) -> RegisteredVersion | None:
    """The version with the alias `champion`; None before the first promotion."""
    models = mlflow_client(project).search_registered_models(f"name = '{MLFLOW_NAME}'")
    number = models[0].aliases.get(CHAMPION) if models else None
    return _to_version(mlflow_client(project).get_model_version(MLFLOW_NAME, number)) if number else None


def _to_version(model_version: Any) -> RegisteredVersion:
    policy = model_version.tags.get(_POLICY_TAG, "")
    return RegisteredVersion(int(model_version.version), model_version.run_id, policy)


def set_champion(project: Path, version: RegisteredVersion, reason: str) -> None:
    """Move the alias `champion` to a version, and store the reason as a tag of the version."""
    client = mlflow_client(project)
    client.set_registered_model_alias(MLFLOW_NAME, CHAMPION, str(version.number))
    client.set_model_version_tag(MLFLOW_NAME, str(version.number), CROWNED, reason)


def save_artifact(project: Path, version: RegisteredVersion, files: Sequence[Path], folder: str) -> None:
    """Copy files to a folder in the artifacts of the run that registered a version.

    Where that run was removed for good (`mlflow gc`), a warning says that nothing is copied: a version keeps its run.
    """
    client = mlflow_client(project)
    if not _has_run(client, version):
        log.warning("the run of version %d was removed from MLflow: nothing can be kept with it", version.number)
        return
    for path in files:
        client.log_artifact(version.run_id, str(path), folder)


def load_artifact(project: Path, version: RegisteredVersion, path: str) -> Path | None:
    """The local path of a file that `save_artifact` stored; None if there is no such file, or its run was removed."""
    client = mlflow_client(project)
    folder = str(Path(path).parent)
    if not _has_run(client, version) or path not in {
        item.path for item in client.list_artifacts(version.run_id, folder)
    }:
        return None
    return Path(client.download_artifacts(version.run_id, path))


def _has_run(client: "MlflowClient", version: RegisteredVersion) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(version.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def checkpoint_folder(project: Path, version: RegisteredVersion) -> Path:
    """The folder of a version's checkpoint, for `videossr.models.checkpoint.load_policy`.

    Raises PolicyError when its files are missing.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = Path(configured_mlflow(project).artifacts.download_artifacts(f"models:/{MLFLOW_NAME}/{version.number}"))
    except (MlflowException, OSError) as error:
        raise PolicyError(
            f"the files of version {version.number} cannot be loaded ({error}): train and promote again"
        ) from None
    return model / "artifacts" / "policy"


def registered_checkpoint(project: Path, uri: str) -> Path:
    """The folder of the checkpoint at `models:/videossr@champion` or `models:/videossr/NUMBER`.

    Raises PolicyError where there is no such version.
    """
    if uri == f"models:/{MLFLOW_NAME}@{CHAMPION}":
        version = champion(project)
    else:
        version = next((each for each in versions(project) if uri == f"models:/{MLFLOW_NAME}/{each.number}"), None)
    if version is None:
        numbers = ", ".join(str(each.number) for each in versions(project)) or "none yet"
        raise PolicyError(
            f"the registry has no '{uri}': name models:/{MLFLOW_NAME}@{CHAMPION} after a promotion (make promote), or "
            f"models:/{MLFLOW_NAME}/NUMBER with one of its versions ({numbers})"
        )
    return checkpoint_folder(project, version)


def load_champion(project: Path, *, is_trusted: bool = True) -> Any:
    """Load `models:/videossr@champion` as an MLflow pyfunc model.

    Its `predict` takes a table with the columns question and videos. Unless `is_trusted`, it opens the files that a
    server may open (`VideoAccess`). Raises PolicyError before the first promotion.
    """
    if champion(project) is None:
        raise PolicyError("the registry has no champion yet: run the pipeline and promote its model (make demo)")
    return configured_mlflow(project).pyfunc.load_model(
        f"models:/{MLFLOW_NAME}@{CHAMPION}", model_config={"is_trusted": is_trusted}
    )
