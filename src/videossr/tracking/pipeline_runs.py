"""The MLflow run of one run of the pipeline: the parent of the runs of its stages."""

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from videossr.storage.atomic import write_json
from videossr.tracking.database import experiment_id, mlflow_client, mlflow_errors
from videossr.tracking.mlflow_runs import end_running
from videossr.tracking.runs import PARENT_VARIABLE, Run, start_run

log = logging.getLogger(__name__)

PIPELINE = "pipeline"  # its tag `dvc.stage`: it stands for all stages


class PipelineRun:
    """The parent run. It is created by the first `open`, so that a pipeline with nothing to do leaves no run.

    `last` is a file that stores its id. A run that a kill left open is closed by the next one, with its stages' runs.
    """

    def __init__(self, project: Path, params: Mapping[str, Any], last: Path) -> None:
        self._project = project
        self._params = params
        self._last = last
        self._run: Run | None = None
        self._lock = threading.Lock()  # stages start in threads

    def open(self) -> dict[str, str]:
        """Create the run, if it is not there yet; the environment variables that tell a stage about it."""
        with self._lock:
            if self._run is None:
                self._close_killed_run()
                self._run = start_run(self._project, PIPELINE, self._params)
                write_json(self._last, {"run": self._run.run_id, "pid": os.getpid()}, indent=None)
        return {PARENT_VARIABLE: self._run.run_id} if self._run.run_id else {}

    @property
    def run(self) -> Run | None:
        """The run, if it was created."""
        return self._run

    @property
    def run_id(self) -> str:
        """The id of the run; empty where there is none."""
        return self._run.run_id if self._run else ""

    def _close_killed_run(self) -> None:
        if not self._last.exists():
            return
        stored = json.loads(self._last.read_text(encoding="utf-8"))
        if not stored["run"] or psutil.pid_exists(stored["pid"]):
            return
        try:
            client = mlflow_client(self._project)
            end_running(client, experiment_id(self._project, client), stored["run"])
        except mlflow_errors() as error:
            log.warning("MLflow cannot close the run of the pipeline that was killed (%s)", error)
