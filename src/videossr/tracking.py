"""Runs, metrics, lineage and the model registry: the only importer of MLflow.

Everything lies under `<project>/mlruns`: `mlflow.db` (SQLite) and the artifacts beside it. One experiment and one
registered model, both named `videossr`; the alias `champion` names the version that answers.

MLflow is imported inside the functions: it decides about telemetry while it is imported, and takes a second.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from videossr.errors import PolicyError
from videossr.outbox import Letter, Outbox, Point, letters
from videossr.workspace import settle

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Param

logger = logging.getLogger(__name__)

NAME = "videossr"
CHAMPION = "champion"
_POLICY_TAG = "videossr.policy"
_SERVING_REQUIREMENTS = ("torch", "torchvision", "transformers", "av", "numpy", "opencv-python-headless")


class Run:
    """One MLflow run. Its first trouble with MLflow is logged and ends the recording, never the work it records.

    Metrics that MLflow did not take, and how the run ended, wait in the outbox and are sent when the next run begins.
    """

    def __init__(self, client: "MlflowClient | None", run_id: str, outbox: Outbox) -> None:
        self._client = client
        self._outbox = outbox
        self.run_id = run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at a step of a curve, in one write."""
        point = Point(step, int(time.time() * 1000), {name: float(value) for name, value in values.items()})
        if not self._record(lambda client: _log_points(client, self.run_id, [point])):
            self._outbox.put(point)

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters, nested ones by dotted names. A resumed run keeps those that it has."""
        rows = _param_rows(values)
        self._record(lambda client: client.log_batch(self.run_id, params=rows))

    def artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Copy files, or whole folders, to the run."""
        for path in paths:
            self._record(partial(_log_artifact, run_id=self.run_id, path=path, folder=folder))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        if not self._record(lambda client: client.set_terminated(self.run_id, status)):
            self._outbox.end(status)

    def _record(self, write: Callable[["MlflowClient"], object]) -> bool:
        """Whether MLflow took it."""
        if self._client is None:
            return False
        try:
            write(self._client)
        except _trouble() as error:
            logger.warning("MLflow records no more of this run (%s); its metrics are kept and sent later", error)
            self._client = None
        return self._client is not None


@contextlib.contextmanager
def stage_run(project: Path, stage: str, params: Mapping[str, Any], resume: Path | None = None) -> Iterator[Run]:
    """Record one execution of a stage: its parameters, tags and, through the yielded `Run`, its results.

    `resume` is a file that remembers the run: a stage that was killed goes on in it, if the parameters are the same.
    The run ends FINISHED, FAILED when the body raises, KILLED when it is interrupted.
    """
    run = _begin(project, stage, params, resume)
    run.params(params)
    try:
        yield run
    finally:
        run.end(_status(sys.exception()))


def _status(ended_by: BaseException | None) -> str:
    if ended_by is None:
        return "FINISHED"
    return "FAILED" if isinstance(ended_by, Exception) else "KILLED"


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


def lineage(project: Path) -> Lineage:
    """Read the lineage of what lies in the project now.

    Raises PolicyError when no policy has been trained.
    """
    lock = project / "dvc.lock"
    data = locked_outputs(project)
    if "models/policy" not in data:
        raise PolicyError("there is no trained policy to register: run the pipeline first (make run)")
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    return Lineage(_commit(project), hashlib.sha256(lock.read_bytes()).hexdigest(), data, params)


def locked_outputs(project: Path) -> dict[str, str]:
    """Path -> MD5 of every output that `dvc.lock` knows; empty before the first stage."""
    lock = project / "dvc.lock"
    if not lock.exists():
        return {}
    stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages") or {}
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


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
    mlflow = _fluent(project)
    with mlflow.start_run(run_name=f"register-{origin.policy[:8]}") as run, warnings.catch_warnings():
        # An input example would be asked of the model here and now; the signature is given instead.
        warnings.filterwarnings("ignore", message=".*input example.*")
        mlflow.set_tags({**_tags("promote", origin.commit), "dvc.lock": origin.lock})
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


def versions(project: Path) -> list[Version]:
    """Every registered version, oldest first."""
    found = client(project).search_model_versions(f"name = '{NAME}'")
    return sorted((_version(item) for item in found), key=lambda version: version.number)


def champion(project: Path) -> Version | None:
    """The version that the alias names, or None before the first promotion."""
    registered = client(project).search_registered_models(f"name = '{NAME}'")
    number = registered[0].aliases.get(CHAMPION) if registered else None
    return _version(client(project).get_model_version(NAME, number)) if number else None


def crown(project: Path, version: Version, reason: str) -> None:
    """Move the alias `champion` to a version, and write beside it why."""
    store = client(project)
    store.set_registered_model_alias(NAME, CHAMPION, str(version.number))
    store.set_model_version_tag(NAME, str(version.number), "videossr.crowned", reason)


def keep(project: Path, version: Version, files: Sequence[Path], folder: str) -> None:
    """Copy files to the run that registered a version."""
    for path in files:
        _log_artifact(client(project), version.run_id, path, folder)


def kept(project: Path, version: Version, path: str) -> Path | None:
    """The local path of a file that `keep` stored, or None."""
    store = client(project)
    folder = str(Path(path).parent)
    if path not in {item.path for item in store.list_artifacts(version.run_id, folder)}:
        return None
    return Path(store.download_artifacts(version.run_id, path))


def checkpoint(project: Path, version: Version) -> Path:
    """The folder of a version's checkpoint, for `qwen.load_policy`.

    Raises PolicyError when its files are gone: MLflow stores absolute paths, which a moved project leaves behind.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = Path(_fluent(project).artifacts.download_artifacts(f"models:/{NAME}/{version.number}"))
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
    return _fluent(project).pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")


def client(project: Path) -> "MlflowClient":
    """An MLflow client on the project's own database, which is made when it is missing."""
    settle(project)
    from mlflow import MlflowClient

    # MLflow announces every table and every version that it creates.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not (project / "mlruns" / "mlflow.db").exists():
        _make_database(project)
    return MlflowClient(tracking_uri=database(project), registry_uri=database(project))


def _make_database(project: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    (project / "mlruns").mkdir(exist_ok=True)
    # MLflow writes the artifact folder of its own, unused experiment into SQL by hand: a quote in the project's path
    # would end the string. Ours has its folder bound as a value.
    SqlAlchemyStore(database(project), "mlflow-artifacts:/")


def database(project: Path) -> str:
    """The URI of the project's MLflow database."""
    return f"sqlite:///{project / 'mlruns' / 'mlflow.db'}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted names; a list is JSON."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return rows


def _log_artifact(client: "MlflowClient", run_id: str, path: Path, folder: str | None) -> None:
    client.log_artifact(run_id, str(path), folder)


def _begin(project: Path, stage: str, params: Mapping[str, Any], resume: Path | None) -> Run:
    unsent = project / "mlruns" / "unsent"
    run_id = _remembered(resume, params)
    try:
        store = client(project)
        experiment = _experiment(project, store)
        for letter in letters(unsent):
            if letter.status == "FINISHED":
                _send(store, experiment, letter)
        # Looked up after the runs that have finished, and before those that were cut off: it may be one of these.
        run_id = _reopened(store, run_id) or _made(store, experiment, stage, _tags(stage, _commit(project)))
        if resume is not None:
            _remember(resume, {"run": run_id, "params": params})
        for letter in letters(unsent):
            mine = resume is not None and _same_work(store, letter, run_id, stage, params)
            _send(store, experiment, letter, run_id if mine else "")
    except _trouble() as error:
        logger.warning("MLflow cannot record this run (%s); its metrics are kept and sent later", error)
        return Run(None, run_id, Outbox(unsent, run_id, stage, params))
    return Run(store, run_id, Outbox(unsent, run_id, stage, params))


def _send(store: "MlflowClient", experiment: str, letter: Letter, goes_on: str = "") -> None:
    """Send what a run could not say, to the run that `goes_on` with its work, or to its own, which is then over.

    A run that could not even be made is made now. One that was cut off before it ended was killed.
    """
    run_id = goes_on or (letter.run_id if _is_open(store, letter.run_id) else "")
    if not run_id:
        run_id = _made(store, experiment, letter.stage, {"dvc.stage": letter.stage})
        store.log_batch(run_id, params=_param_rows(letter.params))
    _log_points(store, run_id, letter.points)
    if not goes_on:
        store.set_terminated(run_id, letter.status or "KILLED")
    letter.path.unlink()
    logger.info("sent %d steps of '%s' that MLflow had not taken", len(letter.points), letter.stage)


def _same_work(store: "MlflowClient", letter: Letter, run_id: str, stage: str, params: Mapping[str, Any]) -> bool:
    """Whether a letter is of the run `run_id`, or of one that never came to be and was to do the same."""
    if letter.run_id == run_id:
        return True
    alike = (letter.stage, letter.params) == (stage, _as_json(params))
    return alike and not _is_open(store, letter.run_id)


def _made(store: "MlflowClient", experiment: str, stage: str, tags: Mapping[str, str]) -> str:
    return store.create_run(experiment, run_name=stage, tags=dict(tags)).info.run_id


def _param_rows(values: Mapping[str, Any]) -> list["Param"]:
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in flat(values).items()]


def _log_points(store: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    from mlflow.entities import Metric

    for point in points:
        rows = [Metric(name, value, point.milliseconds, point.step) for name, value in point.values.items()]
        store.log_batch(run_id, metrics=rows)


def _remember(note: Path, content: Mapping[str, Any]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    partial = note.with_name(note.name + ".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(note)


def _remembered(note: Path | None, params: Mapping[str, Any]) -> str:
    """The run that a note remembers, where it had these very parameters; else nothing."""
    if note is None or not note.exists():
        return ""
    known = json.loads(note.read_text(encoding="utf-8"))
    return known["run"] if known["params"] == _as_json(params) else ""


def _reopened(store: "MlflowClient", run_id: str) -> str:
    if not _is_open(store, run_id):
        return ""
    store.update_run(run_id, status="RUNNING")
    return run_id


def _is_open(store: "MlflowClient", run_id: str) -> bool:
    """Whether there is such a run (its database may be another by now) and it has not finished."""
    from mlflow.exceptions import MlflowException

    try:
        info = store.get_run(run_id).info if run_id else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        info = None
    return info is not None and info.lifecycle_stage == "active" and info.status != "FINISHED"


def _as_json(values: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(values))


def _experiment(project: Path, store: "MlflowClient") -> str:
    found = store.get_experiment_by_name(NAME)
    return found.experiment_id if found else store.create_experiment(NAME, str(project / "mlruns" / "artifacts"))


def _fluent(project: Path) -> Any:
    store = client(project)
    import mlflow

    mlflow.set_tracking_uri(database(project))
    mlflow.set_registry_uri(database(project))
    mlflow.set_experiment(experiment_id=_experiment(project, store))
    return mlflow


def _trouble() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    asked = Schema([ColSpec(DataType.string, "question"), ColSpec(Array(DataType.string), "videos")])
    return ModelSignature(inputs=asked, outputs=Schema([ColSpec(DataType.string, "answer")]))


def _version(item: Any) -> Version:
    return Version(int(item.version), item.run_id, item.tags.get(_POLICY_TAG, ""))


def _tags(stage: str, commit: str) -> dict[str, str]:
    return {"dvc.stage": stage, "git.commit": commit, "mlflow.source.git.commit": commit}


def _commit(project: Path) -> str:
    command = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "not in git"
