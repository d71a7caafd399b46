"""Runs, metrics, lineage and the model registry: the only importer of MLflow.

Everything lies under `<project>/mlruns`: `mlflow.db` (SQLite) and the artifacts beside it. One experiment and one
registered model, both named `videossr`; the alias `champion` names the version that answers.

MLflow is imported inside the functions: it decides about telemetry while it is imported, and takes a second. `served`
alone imports it at once: MLflow runs that file where a registered model is loaded, and nothing here imports it.
"""

from videossr.tracking.lineage import Lineage, read_lineage
from videossr.tracking.registry import (
    Version,
    champion,
    checkpoint_folder,
    load_artifact,
    load_champion,
    register,
    save_artifact,
    set_champion,
    versions,
)
from videossr.tracking.runs import Run, stage_run
from videossr.tracking.store import NAME, client, database

__all__ = [
    "Lineage",
    "NAME",
    "Run",
    "Version",
    "champion",
    "checkpoint_folder",
    "client",
    "database",
    "load_artifact",
    "load_champion",
    "read_lineage",
    "register",
    "save_artifact",
    "set_champion",
    "stage_run",
    "versions",
]
