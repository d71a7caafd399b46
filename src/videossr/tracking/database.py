"""The project's MLflow database: its client, its one experiment, and the errors that it raises.

`MLFLOW_TRACKING_URI` names another one, such as a team's server: runs and the registry are then there.
"""

import contextlib
import gc
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.tracking.relocation import follow_moved_project
from videossr.workspace import configure_tools

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MLFLOW_NAME = "videossr"  # of the one experiment and of the one registered model


def mlflow_client(project: Path) -> "MlflowClient":
    """An MLflow client of the project's database. The database is created if it is missing."""
    configure_tools(project)
    with _garbage_collection_paused():
        from mlflow import MlflowClient

        # MLflow logs every table and every version that it creates.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        file = database_file(project)
        if file is not None and not file.exists():
            _create_database(project)
        elif file is not None:
            with contextlib.suppress(sqlite3.Error):  # MLflow says below what is wrong with its database
                follow_moved_project(file, MLFLOW_NAME, _artifact_location(project).removesuffix("artifacts"))
        uri = database_uri(project)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def prepare_tracking(project: Path) -> None:
    """Import MLflow and create its database, so that the first run opens at once. What is wrong, that run says."""
    try:
        mlflow_client(project)
    except mlflow_errors():
        log.debug("MLflow could not be prepared", exc_info=True)


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """MLflow's import makes two thousand modules and no garbage: collections take a quarter of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _create_database(project: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    (project / "mlruns").mkdir(exist_ok=True)
    # MLflow inserts the artifact folder of its default experiment, which is not used here, as literal SQL: a quote in
    # the project's path would end the string. The experiment of this project passes its folder as a bound value.
    SqlAlchemyStore(database_uri(project), "mlflow-artifacts:/")


def database_file(project: Path) -> Path | None:
    """The SQLite file of the project's own MLflow database, which may not exist yet; None where another one is used."""
    return None if _configured_uri() else project / "mlruns" / "mlflow.db"


def database_uri(project: Path) -> str:
    """The URI of the project's MLflow database: `MLFLOW_TRACKING_URI`, or its own file."""
    file = database_file(project)
    if file is None:
        return _configured_uri()
    # SQLAlchemy ends a path at a question mark, so there it must be relative to the working directory, the project.
    return f"sqlite:///{os.path.relpath(file) if '?' in str(file) else file}"


def _configured_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def experiment_id(project: Path, client: "MlflowClient") -> str:
    """The id of the experiment `videossr`, which is created if it is missing."""
    experiment = client.get_experiment_by_name(MLFLOW_NAME)
    if experiment is not None:
        return experiment.experiment_id
    if database_file(project) is None:
        return client.create_experiment(MLFLOW_NAME)  # its server decides where artifacts are
    return client.create_experiment(MLFLOW_NAME, _artifact_location(project))


def _artifact_location(project: Path) -> str:
    """The folder of artifacts of the project's own database, as MLflow stores it."""
    folder = project / "mlruns" / "artifacts"
    return folder.as_uri() if set(str(folder)) & set("?#%") else str(folder)


def run_page(project: Path, run_id: str) -> str:
    """The page of a run below the address of MLflow's pages."""
    return f"#/experiments/{experiment_id(project, mlflow_client(project))}/runs/{run_id}"


def configured_mlflow(project: Path) -> Any:
    """The module `mlflow`, set to the project's database. Its functions log and load models, the client's do not."""
    client = mlflow_client(project)
    import mlflow

    uri, configured = database_uri(project), os.environ.get("MLFLOW_TRACKING_URI")
    experiment = experiment_id(project, client)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(experiment_id=experiment)
    # MLflow also wrote the address to the environment, where it would look like the user's.
    if configured is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return mlflow


def mlflow_errors() -> tuple[type[Exception], ...]:
    """The exceptions that MLflow raises when its database or its files cannot be read or written."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError
