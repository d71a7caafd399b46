"""Where a run lives on disk, and the environment its tools run in: quiet, on loopback, inside the project."""

import os
from pathlib import Path

# Every tool reports to its makers unless told not to; a person who runs one by hand should not have to know that.
QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
# Threads that spin for long while they wait starve each other as soon as the machine does anything else; threads that
# sleep at once are late for every small operation.
_CALM = {"GOMP_SPINCOUNT": "10000"}
# A person reads the terminal, not the level and the name of the logger.
_PLAIN_LOG = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "videossr",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FORMAT": "%(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(task_run_name)-8s | %(message)s",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def root() -> Path:
    """The project's root: the real one also inside the temporary workspace of a DVC experiment."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def settle(project: Path) -> None:
    """Switch every tool's analytics off, and keep Prefect's files in the project. Call before importing the tools."""
    for name, value in {**QUIET, **_CALM, **_PLAIN_LOG}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(project / ".prefect"))


def workers() -> int:
    """Processes to work with; results never depend on it. `VIDEOSSR_WORKERS` overrides the number of cores."""
    return int(os.environ.get("VIDEOSSR_WORKERS") or os.cpu_count() or 1)
