"""Runs, metrics, lineage and the model registry. No other package imports MLflow.

All files are under `<project>/mlruns`: the database `mlflow.db` (SQLite) and the artifacts. There is one experiment and
one registered model, both named `videossr`. The alias `champion` marks the version that answers questions.

MLflow is imported inside functions: the import takes a second, and reads the telemetry settings. Only `served.py`
imports it at the top: MLflow runs that file when it loads a registered model, and this package never imports it.
"""

from videossr.tracking.database import MLFLOW_NAME, database_uri, mlflow_client, prepare_tracking, run_page
from videossr.tracking.history import Origin, find_version, read_origin, withdraw_champion, withdrawn_because
from videossr.tracking.lineage import POLICY_TAG, Lineage, read_input_hashes, read_lineage
from videossr.tracking.pipeline_runs import PipelineRun
from videossr.tracking.registry import (
    RegisteredVersion,
    champion,
    checkpoint_folder,
    load_artifact,
    load_champion,
    register_policy,
    registered_checkpoint,
    save_artifact,
    set_champion,
    versions,
)
from videossr.tracking.runs import Run, child_runs, stage_run
from videossr.tracking.serving import serve
from videossr.tracking.stage_costs import StageCost, read_stage_costs, write_stage_cost
from videossr.tracking.summary import RegistrySummary, registry_summary

__all__ = [
    "Lineage",
    "MLFLOW_NAME",
    "Origin",
    "POLICY_TAG",
    "PipelineRun",
    "RegisteredVersion",
    "RegistrySummary",
    "Run",
    "StageCost",
    "champion",
    "child_runs",
    "checkpoint_folder",
    "database_uri",
    "find_version",
    "load_artifact",
    "load_champion",
    "mlflow_client",
    "prepare_tracking",
    "read_input_hashes",
    "read_lineage",
    "read_origin",
    "read_stage_costs",
    "register_policy",
    "registered_checkpoint",
    "registry_summary",
    "run_page",
    "save_artifact",
    "serve",
    "set_champion",
    "stage_run",
    "versions",
    "withdraw_champion",
    "withdrawn_because",
    "write_stage_cost",
]
