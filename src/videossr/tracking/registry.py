"""The registered model `videossr`: its versions, the champion among them, their files, and how one is registered."""

import importlib.metadata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.errors import PolicyError
from videossr.tracking.lineage import Lineage, run_tags
from videossr.tracking.store import NAME, client, fluent

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
_POLICY_TAG = "videossr.policy"
_SERVING_REQUIREMENTS = ("torch", "torchvision", "transformers", "av", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Version:
    """A version in the registry: its number, the run that registered it, and the DVC hash of its policy."""

    number: int
    run_id: str
    policy: str


def register(
    project: Path, policy_dir: Path, origin: Lineage, serving: Mapping[str, Any], results: Mapping[str, Any]
) -> Version:
    """Register the policy as a new version of the model `videossr`, or find the version that it already is.

    The checkpoint is copied beside the run, so that later training cannot change a registered model. `serving` says how
    videos are read at inference (`served.py`); `results` is `reports/viubench.json`, its scores become metrics.
    """
    known = next((version for version in versions(project) if version.policy == origin.policy), None)
    if known is not None:
        return known
    mlflow = fluent(project)
    with mlflow.start_run(run_name=f"register-{origin.policy[:8]}") as run, warnings.catch_warnings():
        # An input example would be asked of the model here and now; the signature is given instead.
        warnings.filterwarnings("ignore", message=".*input example.*")
        mlflow.set_tags({**run_tags("promote", origin.commit), "dvc.lock": origin.lock})
        mlflow.log_dict({"commit": origin.commit, "dvc.lock": origin.lock, "data": dict(origin.data)}, "lineage.json")
        mlflow.log_dict(dict(origin.params), "params.yaml")
        info = mlflow.pyfunc.log_model(
            name="policy",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"checkpoint": str(policy_dir)},
            model_config=dict(serving),
            signature=_signature(),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _SERVING_REQUIREMENTS],
            metadata={"dvc.lock": origin.lock, "policy.md5": origin.policy},
        )
        after = results["rows"]["after"]
        for name in [*results["columns"], "overall"]:
            mlflow.log_metric(f"viubench/{name}", after[name], model_id=info.model_id)
    return _create_version(client(project), run.info.run_id, info.model_id, origin)


def _create_version(store: "MlflowClient", run_id: str, model_id: str, origin: Lineage) -> Version:
    # The tags come into being with the version, so that a version without lineage never exists.
    hashes = {f"md5:{path}": md5 for path, md5 in origin.data.items()}
    tags = {_POLICY_TAG: origin.policy, "git.commit": origin.commit, "dvc.lock": origin.lock, **hashes}
    if not store.search_registered_models(f"name = '{NAME}'"):
        store.create_registered_model(NAME, description="Post-trained on puzzles cut out of unlabelled videos.")
    return _version(store.create_model_version(NAME, f"models:/{model_id}", run_id, tags, model_id=model_id))


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    asked = Schema([ColSpec(DataType.string, "question"), ColSpec(Array(DataType.string), "videos")])
    return ModelSignature(inputs=asked, outputs=Schema([ColSpec(DataType.string, "answer")]))


def versions(project: Path) -> list[Version]:
    """Every registered version, oldest first."""
    found = client(project).search_model_versions(f"name = '{NAME}'")
    return sorted((_version(item) for item in found), key=lambda version: version.number)


def champion(project: Path) -> Version | None:
    """The version that the alias names, or None before the first promotion."""
    registered = client(project).search_registered_models(f"name = '{NAME}'")
    number = registered[0].aliases.get(CHAMPION) if registered else None
    return _version(client(project).get_model_version(NAME, number)) if number else None


def _version(item: Any) -> Version:
    return Version(int(item.version), item.run_id, item.tags.get(_POLICY_TAG, ""))


def set_champion(project: Path, version: Version, reason: str) -> None:
    """Move the alias `champion` to a version, and write beside it why."""
    store = client(project)
    store.set_registered_model_alias(NAME, CHAMPION, str(version.number))
    store.set_model_version_tag(NAME, str(version.number), "videossr.crowned", reason)


def save_artifact(project: Path, version: Version, files: Sequence[Path], folder: str) -> None:
    """Copy files to the run that registered a version."""
    store = client(project)
    for path in files:
        store.log_artifact(version.run_id, str(path), folder)


def load_artifact(project: Path, version: Version, path: str) -> Path | None:
    """The local path of a file that `save_artifact` stored, or None."""
    store = client(project)
    folder = str(Path(path).parent)
    if path not in {item.path for item in store.list_artifacts(version.run_id, folder)}:
        return None
    return Path(store.download_artifacts(version.run_id, path))


def checkpoint_folder(project: Path, version: Version) -> Path:
    """The folder of a version's checkpoint, for `qwen.load_policy`.

    Raises PolicyError when its files are gone: MLflow stores absolute paths, which a moved project leaves behind.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = Path(fluent(project).artifacts.download_artifacts(f"models:/{NAME}/{version.number}"))
    except (MlflowException, OSError) as error:
        raise PolicyError(
            f"the files of version {version.number} are gone ({error}): train and promote again"
        ) from None
    return model / "artifacts" / "policy"


def load_champion(project: Path) -> Any:
    """Load `models:/videossr@champion` as an MLflow pyfunc model: `predict` takes the columns question and videos.

    Raises PolicyError before the first promotion.
    """
    if champion(project) is None:
        raise PolicyError("the registry has no champion yet: run the pipeline and promote its model (make demo)")
    return fluent(project).pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
