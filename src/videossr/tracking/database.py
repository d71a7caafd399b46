"""The project's MLflow database: its client, its one experiment, and the errors that it raises."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.workspace import configure_tools

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_NAME = "videossr"  # of the one experiment and of the one registered model


def mlflow_client(project: Path) -> "MlflowClient":
    """An MLflow client of the project's database. The database is created if it is missing."""
    configure_tools(project)
    from mlflow import MlflowClient

    # MLflow logs every table and every version that it creates.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not (project / "mlruns" / "mlflow.db").exists():
        _create_database(project)
    uri = database_uri(project)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_database(project: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    (project / "mlruns").mkdir(exist_ok=True)
    # MLflow inserts the artifact folder of its default experiment, which is not used here, as literal SQL: a quote in
    # the project's path would end the string. The experiment of this project passes its folder as a bound value.
    SqlAlchemyStore(database_uri(project), "mlflow-artifacts:/")


def database_file(project: Path) -> Path | None:
    """The SQLite file of the project's MLflow database; it may not exist yet."""
    return project / "mlruns" / "mlflow.db"


def database_uri(project: Path) -> str:
    """The URI of the project's MLflow database."""
    return f"sqlite:///{project / 'mlruns' / 'mlflow.db'}"


def experiment_id(project: Path, client: "MlflowClient") -> str:
    """The id of the experiment `videossr`, which is created if it is missing."""
    experiment = client.get_experiment_by_name(MLFLOW_NAME)
    if experiment is not None:
        return experiment.experiment_id
    return client.create_experiment(MLFLOW_NAME, str(project / "mlruns" / "artifacts"))


def configured_mlflow(project: Path) -> Any:
    """The module `mlflow`, set to the project's database. Its functions log and load models, the client's do not."""
    client = mlflow_client(project)
    import mlflow

    mlflow.set_tracking_uri(database_uri(project))
    mlflow.set_registry_uri(database_uri(project))
    mlflow.set_experiment(experiment_id=experiment_id(project, client))
    return mlflow


def mlflow_errors() -> tuple[type[Exception], ...]:
    """The exceptions that MLflow raises when its database or its files cannot be read or written."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError
