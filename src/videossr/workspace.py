"""The project's folder, the environment variables of its tools (no analytics, files in the project), the engine."""

import getpass
import os
from pathlib import Path

from videossr.errors import ConfigError
from videossr.parallel import RayCluster, Workers

# Each tool sends usage statistics unless these are set.
_ANALYTICS_OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the V2 pages ask an analytics host whatever is set; V1 stays the default
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Waiting threads that spin too long slow down a busy machine; threads that sleep at once slow down small operations.
_THREADING = {"GOMP_SPINCOUNT": "10000"}
# Messages in the terminal show neither the level nor the name of the logger.
_PLAIN_LOG = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "videossr",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FORMAT": "%(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(task_run_name)-8s | %(message)s",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def project_root() -> Path:
    """The root of the project, also from within the temporary workspace of a DVC experiment."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def configure_tools(project: Path) -> None:
    """Switch every tool's analytics off and keep Prefect's files in the project. Call it before importing the tools."""
    for name, value in {**_ANALYTICS_OFF, **_THREADING, **_PLAIN_LOG}.items():
        os.environ.setdefault(name, value)
    # The database in this folder is opened by a URL, whose path ends at a question mark.
    prefect_home = project / ".prefect"
    os.environ.setdefault("PREFECT_HOME", os.path.relpath(prefect_home) if "?" in str(project) else str(prefect_home))
    _bypass_proxies()
    _provide_user(project)


def _bypass_proxies() -> None:
    """Reach the servers of this machine directly: a proxy in the environment would answer in their place."""
    names = ("no_proxy", "NO_PROXY")
    hosts = [host for name in names for host in os.environ.get(name, "").split(",") if host]
    os.environ.update(dict.fromkeys(names, ",".join(dict.fromkeys([*hosts, *_LOOPBACK]))))


def _provide_user(project: Path) -> None:
    """Give libraries a home folder and a user name where there is none: in a container under a user id of its own."""
    try:
        Path.home()
    except RuntimeError:
        home = project / "work" / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid{os.getuid()}"


def selected_workers() -> Workers:
    """The engine that the environment selects for stages over many videos. No result depends on it.

    `VIDEOSSR_ENGINE` is `processes` (of this machine, the default), `here` (this process alone) or `ray` (the cluster
    at `RAY_ADDRESS`). `VIDEOSSR_WORKERS` sets the number of processes; the default is one per processor. Raises
    ConfigError.
    """
    engine, number = os.environ.get("VIDEOSSR_ENGINE") or "processes", os.environ.get("VIDEOSSR_WORKERS") or None
    if number is not None and not number.isdecimal():
        raise ConfigError(f"VIDEOSSR_WORKERS must be a number of processes, got '{number}'")
    if engine == "here":
        return 0
    if engine == "processes":
        return int(number or os.cpu_count() or 1)
    if engine == "ray":
        return RayCluster(_ray_address(), int(number) if number else None)
    raise ConfigError(f"VIDEOSSR_ENGINE must be processes, here or ray, got '{engine}'")


def _ray_address() -> str:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        raise ConfigError(
            "VIDEOSSR_ENGINE ray needs the address of a Ray cluster in RAY_ADDRESS: start a cluster (ray start --head) "
            "and set the address that it prints, or set VIDEOSSR_ENGINE to processes"
        )
    return address
