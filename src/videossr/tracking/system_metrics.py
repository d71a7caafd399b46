"""The load of the machine during a run: MLflow's own system metrics (processor, memory, disk, network, GPU)."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from videossr.tracking.database import database_uri, mlflow_errors

_SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"  # MLflow's own


class SystemMetrics:
    """While this context is open, a thread of MLflow records the load every ten seconds, to this database alone.

    Nothing is recorded without a run, or with MLflow's own switch off (`MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false`).
    """

    def __init__(self, project: Path, run_id: str) -> None:
        self._project = project
        self._run_id = run_id
        self._monitor: Any = None

    def __enter__(self) -> "SystemMetrics":
        if self._run_id and os.environ.get(_SWITCH, "").lower() not in ("false", "0"):
            self._start()
        return self

    def _start(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        try:
            uri = database_uri(self._project)
            self._monitor = SystemMetricsMonitor(self._run_id, resume_logging=True, tracking_uri=uri)
        except mlflow_errors():
            return  # the run itself says that MLflow cannot record
        self._monitor.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._monitor is not None:
            self._monitor.finish()
