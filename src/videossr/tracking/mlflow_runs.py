"""Create, reopen and write MLflow runs."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.tracking.outbox import PendingRun, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


def create_run(client: "MlflowClient", experiment: str, stage: str, tags: Mapping[str, str]) -> str:
    """Create a run in the experiment with this id, and return its id."""
    return client.create_run(experiment, run_name=stage, tags=dict(tags)).info.run_id


def reopen_run(client: "MlflowClient", run_id: str) -> str:
    """Set an unfinished run to RUNNING and return its id; return "" when it cannot be continued."""
    if not is_unfinished(client, run_id):
        return ""
    client.update_run(run_id, status="RUNNING")
    return run_id


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


def send_pending_run(client: "MlflowClient", experiment: str, pending: PendingRun, target_id: str = "") -> None:
    """Record the results of a pending run in MLflow, and delete its file.

    They go to the run `target_id`, which continues it and stays open. Without one they go to the pending run itself,
    which is created if it does not exist, and ended: as KILLED if the process was killed before it set a status.
    """
    run_id = target_id or (pending.run_id if is_unfinished(client, pending.run_id) else "")
    if not run_id:
        run_id = create_run(client, experiment, pending.stage, {"dvc.stage": pending.stage})
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


def write_dataset(client: "MlflowClient", run_id: str, name: str, digest: str, source: str) -> None:
    """Record a data set as input of the run; MLflow stores the first 36 characters of its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": source}))
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])])


def write_points(client: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    """Record the metrics of several steps, one write per step."""
    from mlflow.entities import Metric

    for point in points:
        rows = [Metric(name, value, point.milliseconds, point.step) for name, value in point.values.items()]
        client.log_batch(run_id, metrics=rows)


def copy_artifact(client: "MlflowClient", run_id: str, path: Path, folder: str | None) -> None:
    """Copy a file or a folder to the run."""
    client.log_artifact(run_id, str(path), folder)
