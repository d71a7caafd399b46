"""The project's MLflow database: its client, its one experiment, and what can go wrong with it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videossr.workspace import configure_tools

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "videossr"


def client(project: Path) -> "MlflowClient":
    """An MLflow client on the project's own database, which is made when it is missing."""
    configure_tools(project)
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


def experiment(project: Path, store: "MlflowClient") -> str:
    """The id of the experiment `videossr`, which is made when it is missing."""
    found = store.get_experiment_by_name(NAME)
    return found.experiment_id if found else store.create_experiment(NAME, str(project / "mlruns" / "artifacts"))


def fluent(project: Path) -> Any:
    """The module `mlflow`, at work on the project's database: its functions, not the client's, log and load models."""
    store = client(project)
    import mlflow

    mlflow.set_tracking_uri(database(project))
    mlflow.set_registry_uri(database(project))
    mlflow.set_experiment(experiment_id=experiment(project, store))
    return mlflow


def trouble() -> tuple[type[Exception], ...]:
    """What MLflow raises when its database or its files cannot be read or written."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError
