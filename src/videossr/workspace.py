"""Where a run lives on disk, and the environment its tools run in: quiet, on loopback, inside the project."""

import os
from pathlib import Path

from videossr.errors import ConfigError
from videossr.parallel import RayCluster, Workers

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


def project_root() -> Path:
    """The project's root: the real one also inside the temporary workspace of a DVC experiment."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def configure_tools(project: Path) -> None:
    """Switch every tool's analytics off, and keep Prefect's files in the project. Call before importing the tools."""
    for name, value in {**QUIET, **_CALM, **_PLAIN_LOG}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(project / ".prefect"))


def selected_workers() -> Workers:
    """What works on the videos; results never depend on it, so it is no parameter of a run.

    `VIDEOSSR_ENGINE` is processes (of this machine: the default), here (this process alone) or ray (the cluster at
    `RAY_ADDRESS`, or one of this machine). `VIDEOSSR_WORKERS` overrides the number of processors. Raises ConfigError.
    """
    engine, number = os.environ.get("VIDEOSSR_ENGINE") or "processes", os.environ.get("VIDEOSSR_WORKERS") or None
    if number is not None and not number.isdecimal():
        raise ConfigError(f"VIDEOSSR_WORKERS must be a number of processes, got '{number}'")
    if engine == "here":
        return 0
    if engine == "processes":
        return int(number or os.cpu_count() or 1)
    if engine == "ray":
        return RayCluster(int(number) if number else None, os.environ.get("RAY_ADDRESS") or None)
    raise ConfigError(f"VIDEOSSR_ENGINE must be processes, here or ray, got '{engine}'")
