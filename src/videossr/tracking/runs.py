"""The MLflow run of a stage: its parameters, metrics and files. Kills and MLflow outages lose none of its metrics."""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.storage.atomic import write_json
from videossr.tracking.database import experiment_id, mlflow_client, mlflow_errors
from videossr.tracking.lineage import run_tags
from videossr.tracking.mlflow_runs import (
    copy_artifact,
    create_run,
    is_unfinished,
    reopen_run,
    send_pending_run,
    timed_name,
    write_dataset,
    write_params,
    write_points,
    write_table,
)
from videossr.tracking.outbox import Outbox, PendingRun, Point, pending_runs
from videossr.tracking.system_metrics import SystemMetrics
from videossr.tracking.uncommitted import git_commit, uncommitted_changes

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# The environment variable with the id of the pipeline's run, below which the runs of its stages are.
PARENT_VARIABLE = "VIDEOSSR_MLFLOW_PARENT"


class Run:
    """One MLflow run. Its first MLflow error is logged and ends the recording, but never the stage.

    Metrics that MLflow did not record, and the status of the run, are written to the outbox. The next run sends them.
    """

    def __init__(self, client: "MlflowClient | None", run_id: str, outbox: Outbox) -> None:
        self._client = client
        self._outbox = outbox
        self.run_id = run_id

    @property
    def is_recorded(self) -> bool:
        """Whether MLflow records the run now."""
        return self._client is not None

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record metrics of one step, in one write."""
        point = Point(step, int(time.time() * 1000), {name: float(value) for name, value in values.items()})
        if not self._record(lambda client: write_points(client, self.run_id, [point])):
            self._outbox.add_point(point)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Record parameters, nested ones by dotted names. The parameters of a resumed run do not change."""
        self._record(lambda client: write_params(client, self.run_id, values))

    def log_artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Copy files or folders to the run."""
        for path in paths:
            self._record(partial(copy_artifact, run_id=self.run_id, path=path, folder=folder))

    def log_dataset(
        self, name: str, digest: str, source: str, context: str = "evaluation", num_rows: int | None = None
    ) -> None:
        """Record a data set as input of the run: its name, the hash of its content, and where it comes from."""
        self._record(lambda client: write_dataset(client, self.run_id, name, digest, source, context, num_rows))

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store rows with the same columns as the artifact `name` (.json), which MLflow shows as a table."""
        self._record(partial(write_table, run_id=self.run_id, name=name, rows=rows))

    def log_text(self, name: str, text: str) -> None:
        """Store a text as the artifact `name`."""
        self._record(lambda client: client.log_text(self.run_id, text, name))

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self._record(lambda client: client.set_tag(self.run_id, name, value))

    def set_warning(self, kind: str, sentence: str) -> None:
        """Mark the run with a tag `warning.<kind>`."""
        self.set_tag(f"warning.{kind}", sentence)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        if not self._record(lambda client: client.set_terminated(self.run_id, status)):
            self._outbox.add_status(status)

    def _record(self, write: Callable[["MlflowClient"], object]) -> bool:
        """Write to MLflow, and return whether it succeeded."""
        if self._client is None:
            return False
        try:
            write(self._client)
        except mlflow_errors() as error:
            logger.warning("MLflow stopped recording this run (%s); its metrics are stored and sent later", error)
            self._client = None
        return self._client is not None


@contextlib.contextmanager
def stage_run(
    project: Path, stage: str, params: Mapping[str, Any], resume: Path | None = None, label: str = ""
) -> Iterator[Run]:
    """Record one execution of a stage in MLflow: its parameters, its tags, and what the caller logs to the `Run`.

    `resume` is a file that stores the run's id: a stage that was killed continues the same run if its parameters are
    the same. `label` distinguishes the run's name from those of others of the stage. The run ends as FINISHED, as
    FAILED when the body raises an error, as KILLED when it is interrupted. Below the pipeline it is a child of the
    pipeline's run. A change that is not committed is stored as `uncommitted.diff`, the load of the machine as metrics.
    """
    run = start_run(project, stage, params, resume, label)
    try:
        with SystemMetrics(project, run.run_id if run.is_recorded else ""):
            yield run
    finally:
        run.end(_status(sys.exception()))


@contextlib.contextmanager
def child_runs(parent: Run) -> Iterator[None]:
    """In the body, new runs are children of `parent`, if MLflow has it."""
    before = os.environ.get(PARENT_VARIABLE)
    if parent.run_id:
        os.environ[PARENT_VARIABLE] = parent.run_id
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PARENT_VARIABLE, None)
        else:
            os.environ[PARENT_VARIABLE] = before


def _status(error: BaseException | None) -> str:
    if error is None:
        return "FINISHED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def start_run(project: Path, stage: str, params: Mapping[str, Any], resume: Path | None = None, label: str = "") -> Run:
    """Send pending runs, then create a run or reopen the one in `resume`; the caller ends it. See `stage_run`."""
    run = _open_run(project, stage, params, resume, label)
    run.log_params(params)
    if run.is_recorded and (changes := uncommitted_changes(project)):
        run.log_text("uncommitted.diff", changes)
    return run


def _open_run(project: Path, stage: str, params: Mapping[str, Any], resume: Path | None, label: str) -> Run:
    outbox_folder = project / "mlruns" / "unsent"
    run_id = _read_run_id(resume, params)
    try:
        client = mlflow_client(project)
        experiment = experiment_id(project, client)
        for pending in pending_runs(outbox_folder):
            if pending.status == "FINISHED":
                send_pending_run(client, experiment, pending)
        # `resume` may name a pending run. If that run has finished, MLflow has its status, and it is not reopened.
        # If it was killed, it is reopened here and receives its own pending steps below.
        tags, parent = run_tags(stage, git_commit(project)), os.environ.get(PARENT_VARIABLE, "")
        run_id = reopen_run(client, run_id, parent) or create_run(
            client, experiment, timed_name(stage, label), tags, parent
        )
        if resume is not None:
            write_json(resume, {"run": run_id, "params": params}, indent=None)
        for pending in pending_runs(outbox_folder):
            continues = resume is not None and _continues(client, pending, run_id, stage, params)
            send_pending_run(client, experiment, pending, run_id if continues else "")
    except mlflow_errors() as error:
        logger.warning("MLflow cannot record this run (%s); its metrics are stored and sent later", error)
        return Run(None, run_id, Outbox(outbox_folder, run_id, stage, params))
    return Run(client, run_id, Outbox(outbox_folder, run_id, stage, params))


def _continues(client: "MlflowClient", pending: PendingRun, run_id: str, stage: str, params: Mapping[str, Any]) -> bool:
    """Whether the run `run_id` continues a pending run.

    It does when the ids are the same, or when the pending run is not open in MLflow and has the same stage and params.
    """
    if pending.run_id == run_id:
        return True
    is_same_stage = (pending.stage, pending.params) == (stage, _as_json(params))
    return is_same_stage and not is_unfinished(client, pending.run_id)


def _read_run_id(resume: Path | None, params: Mapping[str, Any]) -> str:
    """The run's id in a resume file, or "" when there is no file or its parameters differ."""
    if resume is None or not resume.exists():
        return ""
    stored = json.loads(resume.read_text(encoding="utf-8"))
    return stored["run"] if stored["params"] == _as_json(params) else ""


def _as_json(values: Mapping[str, Any]) -> Any:
    """The values as they are after a round trip through JSON, in which tuples become lists."""
    return json.loads(json.dumps(values))
