"""Runs, metrics, lineage and the model registry: the only importer of MLflow.

Everything lies under `<project>/mlruns`: `mlflow.db` (SQLite) and the artifacts beside it. One experiment and one
registered model, both named `videossr`; the alias `champion` names the version that answers.

MLflow is imported inside the functions: it decides about telemetry while it is imported, and takes a second. `served`
alone imports it at once: MLflow runs that file where a registered model is loaded, and nothing here imports it.
"""

from videossr.tracking.origin import Lineage, lineage
from videossr.tracking.registry import (
    Version,
    champion,
    checkpoint,
    crown,
    keep,
    kept,
    load_champion,
    register,
    versions,
)
from videossr.tracking.runs import Run, stage_run
from videossr.tracking.store import NAME, client, database

__all__ = [
    "NAME",
    "Lineage",
    "Run",
    "Version",
    "champion",
    "checkpoint",
    "client",
    "crown",
    "database",
    "keep",
    "kept",
    "lineage",
    "load_champion",
    "register",
    "stage_run",
    "versions",
]
