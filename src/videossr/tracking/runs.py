"""A stage's run: its parameters, curves and files; resumed after a kill; what MLflow did not take is sent later."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.storage.atomic import write_json
from videossr.tracking.lineage import git_commit, run_tags
from videossr.tracking.outbox import Outbox, PendingRun, Point, pending_runs
from videossr.tracking.store import client, experiment, trouble

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Param

logger = logging.getLogger(__name__)


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
        except trouble() as error:
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


def _begin(project: Path, stage: str, params: Mapping[str, Any], resume: Path | None) -> Run:
    unsent = project / "mlruns" / "unsent"
    run_id = _remembered(resume, params)
    try:
        store = client(project)
        experiment_id = experiment(project, store)
        for letter in pending_runs(unsent):
            if letter.status == "FINISHED":
                _send(store, experiment_id, letter)
        # Looked up after the runs that have finished, and before those that were cut off: it may be one of these.
        run_id = _reopened(store, run_id) or _made(store, experiment_id, stage, run_tags(stage, git_commit(project)))
        if resume is not None:
            write_json(resume, {"run": run_id, "params": params}, indent=None)
        for letter in pending_runs(unsent):
            mine = resume is not None and _same_work(store, letter, run_id, stage, params)
            _send(store, experiment_id, letter, run_id if mine else "")
    except trouble() as error:
        logger.warning("MLflow cannot record this run (%s); its metrics are kept and sent later", error)
        return Run(None, run_id, Outbox(unsent, run_id, stage, params))
    return Run(store, run_id, Outbox(unsent, run_id, stage, params))


def _send(store: "MlflowClient", experiment_id: str, letter: PendingRun, goes_on: str = "") -> None:
    """Send what a run could not say, to the run that `goes_on` with its work, or to its own, which is then over.

    A run that could not even be made is made now. One that was cut off before it ended was killed.
    """
    run_id = goes_on or (letter.run_id if _is_open(store, letter.run_id) else "")
    if not run_id:
        run_id = _made(store, experiment_id, letter.stage, {"dvc.stage": letter.stage})
        store.log_batch(run_id, params=_param_rows(letter.params))
    _log_points(store, run_id, letter.points)
    if not goes_on:
        store.set_terminated(run_id, letter.status or "KILLED")
    letter.path.unlink()
    logger.info("sent %d steps of '%s' that MLflow had not taken", len(letter.points), letter.stage)


def _same_work(store: "MlflowClient", letter: PendingRun, run_id: str, stage: str, params: Mapping[str, Any]) -> bool:
    """Whether a letter is of the run `run_id`, or of one that never came to be and was to do the same."""
    if letter.run_id == run_id:
        return True
    alike = (letter.stage, letter.params) == (stage, _as_json(params))
    return alike and not _is_open(store, letter.run_id)


def _made(store: "MlflowClient", experiment_id: str, stage: str, tags: Mapping[str, str]) -> str:
    return store.create_run(experiment_id, run_name=stage, tags=dict(tags)).info.run_id


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


def _param_rows(values: Mapping[str, Any]) -> list["Param"]:
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in _flat(values).items()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted names; a list is JSON."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return rows


def _log_points(store: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    from mlflow.entities import Metric

    for point in points:
        rows = [Metric(name, value, point.milliseconds, point.step) for name, value in point.values.items()]
        store.log_batch(run_id, metrics=rows)


def _log_artifact(client: "MlflowClient", run_id: str, path: Path, folder: str | None) -> None:
    client.log_artifact(run_id, str(path), folder)


def _remembered(note: Path | None, params: Mapping[str, Any]) -> str:
    """The run that a note remembers, where it had these very parameters; else nothing."""
    if note is None or not note.exists():
        return ""
    known = json.loads(note.read_text(encoding="utf-8"))
    return known["run"] if known["params"] == _as_json(params) else ""


def _as_json(values: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(values))
