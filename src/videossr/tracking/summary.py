"""The registry in two numbers, read from its SQLite file: importing MLflow, which owns it, takes two seconds.

A registry elsewhere (`MLFLOW_TRACKING_URI`) is asked through MLflow.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import PolicyError
from videossr.tracking.database import MLFLOW_NAME, database_file
from videossr.tracking.registry import CHAMPION, champion, versions

_QUERY = """
select (select count(*) from model_versions where name = :name),
       (select version from registered_model_aliases where name = :name and alias = :alias)
"""


@dataclass(frozen=True)
class RegistrySummary:
    """How many versions are registered, and which of them is the champion (None: none yet)."""

    num_versions: int
    champion: int | None


def registry_summary(project: Path) -> RegistrySummary:
    """Read the registry's state; no version where there is no registry. Raises PolicyError where it is damaged."""
    file = database_file(project)
    if file is None:
        present = champion(project)
        return RegistrySummary(len(versions(project)), present.number if present else None)
    if not file.exists():
        return RegistrySummary(0, None)
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            count, number = connection.execute(_QUERY, {"name": MLFLOW_NAME, "alias": CHAMPION}).fetchone()
    except sqlite3.Error as error:
        raise PolicyError(f"the registry {file} cannot be read ({error}): restore it, or move it away") from None
    return RegistrySummary(count, None if number is None else int(number))
