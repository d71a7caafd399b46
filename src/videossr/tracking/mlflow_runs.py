"""Create, reopen and write MLflow runs."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.tracking.outbox import PendingRun, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


def create_run(client: "MlflowClient", experiment: str, name: str, tags: Mapping[str, str], parent: str = "") -> str:
    """Create a run in the experiment with this id, below the run `parent` if there is one, and return its id."""
    return client.create_run(experiment, run_name=name, tags={**tags, **_parent_tag(parent)}).info.run_id


def timed_name(*words: str) -> str:
    """The name of a run that starts now: `train tiny-random 2026-01-31 14:05:59`, in local time."""
    return " ".join([*filter(None, words), f"{datetime.now():%Y-%m-%d %H:%M:%S}"])


def reopen_run(client: "MlflowClient", run_id: str, parent: str = "") -> str:
    """Set an unfinished run to RUNNING and return its id; return "" when it cannot be continued.

    It moves below the run `parent`, if there is one, which continues it.
    """
    if not is_unfinished(client, run_id):
        return ""
    client.update_run(run_id, status="RUNNING")
    for name, value in _parent_tag(parent).items():
        client.set_tag(run_id, name, value)
    return run_id


def _parent_tag(parent: str) -> dict[str, str]:
    return {"mlflow.parentRunId": parent} if parent else {}


def is_unfinished(client: "MlflowClient", run_id: str) -> bool:
    """Whether the run exists and has not finished. The database may have been replaced since the id was stored."""
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(run_id).info if run_id else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        info = None
    return info is not None and info.lifecycle_stage == "active" and info.status != "FINISHED"


def end_running(client: "MlflowClient", experiment: str, run_id: str) -> None:
    """End a run and the runs below it that a kill left RUNNING. They can still be continued."""
    below = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'")
    for child in below:
        client.set_terminated(child.info.run_id, "KILLED")
    if is_unfinished(client, run_id):
        client.set_terminated(run_id, "KILLED")


def send_pending_run(client: "MlflowClient", experiment: str, pending: PendingRun, target_id: str = "") -> None:
    """Record the results of a pending run in MLflow, and delete its file.

    They go to the run `target_id`, which continues it and stays open. Without one they go to the pending run itself,
    which is created if it does not exist, and ended: as KILLED if the process was killed before it set a status.
    """
    run_id = target_id or (pending.run_id if is_unfinished(client, pending.run_id) else "")
    if not run_id:
        run_id = create_run(client, experiment, timed_name(pending.stage), {"dvc.stage": pending.stage})
        write_params(client, run_id, pending.params)
    write_points(client, run_id, pending.points)
    if not target_id:
        client.set_terminated(run_id, pending.status or "KILLED")
    pending.path.unlink()
    logger.info("sent %d pending steps of stage '%s' to MLflow", len(pending.points), pending.stage)


def write_params(client: "MlflowClient", run_id: str, values: Mapping[str, Any]) -> None:
    """Record parameters, nested ones by dotted names. Parameters that the run already has do not change."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in _flatten(values).items()])


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted names; lists as JSON."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flatten(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return rows


def write_dataset(
    client: "MlflowClient", run_id: str, name: str, digest: str, source: str, context: str, num_rows: int | None
) -> None:
    """Record a data set as input of the run; MLflow stores the first 36 characters of its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    profile = None if num_rows is None else json.dumps({"num_rows": num_rows})
    dataset = Dataset(name, digest[:36], source_type="local", source=json.dumps({"uri": source}), profile=profile)
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException as error:
        if "IntegrityError" not in str(error):
            raise
        # A stage beside this one recorded the same data set at the same moment. Now MLflow finds it.
        client.log_inputs(run_id, inputs)


def write_table(client: "MlflowClient", run_id: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows with the same columns as a table that MLflow's pages show."""
    columns = {column: [row[column] for row in rows] for column in (rows[0] if rows else {})}
    client.log_table(run_id, columns, name)


def write_points(client: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    """Record the metrics of several steps, one write per step."""
    from mlflow.entities import Metric

    for point in points:
        rows = [Metric(name, value, point.milliseconds, point.step) for name, value in point.values.items()]
        client.log_batch(run_id, metrics=rows)


def copy_artifact(client: "MlflowClient", run_id: str, path: Path, folder: str | None) -> None:
    """Copy a file or a folder to the run."""
    client.log_artifact(run_id, str(path), folder)
