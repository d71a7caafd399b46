"""Let MLflow find the artifacts of a project that was moved or copied: its database holds absolute paths."""

import sqlite3
from contextlib import closing
from pathlib import Path

# Every column that holds the path of an artifact.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow_moved_project(database: Path, experiment: str, folder: str) -> None:
    """Rewrite the paths in a project's own database, where the artifacts of its experiment are not below `folder`.

    `folder` is the project's `mlruns/`, as a path or a URI that ends with a slash. Raises sqlite3.Error where the
    database cannot be read or written.
    """
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute("select artifact_location from experiments where name = ?", (experiment,)).fetchone()
        before, found, _ = row[0].rpartition("/mlruns/") if row else ("", "", "")
        old = before + found
        # A server's experiment has the server's address, which does not depend on the project's folder.
        if not found or old == folder:
            return
        with connection:  # one transaction
            for table, column in _COLUMNS:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",
                    (folder, len(old) + 1, len(old), old),
                )
