"""Start, find and stop the project's services. supervisord keeps them running, and ends them with itself.

Its configuration has relative paths alone, because the path of the project may hold what a configuration file gives a
meaning (`%`, `#`, `;`). supervisord starts in the project's folder.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from videossr.errors import ConfigError, VideoSSRError
from videossr.services.definitions import Ports, Service, services_folder
from videossr.services.health import is_ready
from videossr.storage.atomic import write_text

START_SECONDS = 180.0
PROCESS_ID_SECONDS = 20.0
# supervisord gives each service STOP_SECONDS to end; a worker first stops the stages of its run.
STOP_SECONDS = 30

_MAIN_SECTION = """[supervisord]
pidfile=.services/supervisord.pid
logfile=.services/supervisord.log
logfile_maxbytes=5MB
"""
_PROGRAM_SECTION = """
[program:{name}]
command=python {command}
stdout_logfile=.services/{name}.log
stdout_logfile_maxbytes=5MB
redirect_stderr=true
startsecs=5
startretries=30
stopasgroup=true
killasgroup=true
stopwaitsecs={stop_seconds}
priority={priority}
"""


def start(project: Path, services: Sequence[Service], ports: Ports, environment: Mapping[str, str]) -> None:
    """Start supervisord with these services in the background. Raises VideoSSRError where it does not start."""
    folder = services_folder(project)
    folder.mkdir(exist_ok=True)
    (project / "reports").mkdir(exist_ok=True)
    (project / "mlruns").mkdir(exist_ok=True)
    sections = [_MAIN_SECTION, *map(_program_section, range(len(services)), services)]
    write_text(folder / "supervisord.conf", "".join(sections))
    write_text(folder / "ports.json", json.dumps(asdict(ports)))
    variables = {
        **environment,
        # The services, and what a deployment runs, call `python` and `dvc`: they must be those of this environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise VideoSSRError(f"the services did not start: {done.stderr.strip() or done.stdout.strip()}")
    wait_for_process_id(project)


def wait_for_process_id(project: Path) -> None:
    """Wait until supervisord has written its process id: its command ends before. Raises VideoSSRError."""
    deadline = time.monotonic() + PROCESS_ID_SECONDS
    while find_supervisor(project) is None:
        if time.monotonic() > deadline:
            raise VideoSSRError("the services ended at once: read why in .services/supervisord.log")
        time.sleep(0.05)


def find_supervisor(project: Path) -> psutil.Process | None:
    """The supervisord of this project, or None. A process that only has its old number is not taken for it."""
    folder = services_folder(project)
    try:
        process = psutil.Process(int((folder / "supervisord.pid").read_text(encoding="utf-8")))
        return process if str(folder / "supervisord.conf") in process.cmdline() else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def start_time(project: Path) -> float:
    """When the services of this project started, in seconds since the epoch. Raises VideoSSRError where none run."""
    supervisor = find_supervisor(project)
    if supervisor is None:
        raise VideoSSRError("the services ended: read why in .services/supervisord.log")
    return float(supervisor.create_time())


def running_ports(project: Path) -> Ports | None:
    """The ports of the services that run for this project, or None where none run."""
    if find_supervisor(project) is None:
        return None
    return Ports(**json.loads((services_folder(project) / "ports.json").read_text(encoding="utf-8")))


def ready_services(project: Path, services: Sequence[Service], ports: Ports) -> set[str]:
    """The names of the services that are processes of this project's supervisord and are ready."""
    supervisor = find_supervisor(project)
    children = supervisor.children() if supervisor else []
    running = {name for child in children if (name := _service_name(child))}
    return {service.name for service in services if service.name in running and is_ready(service, ports)}


def wait_until_ready(
    project: Path, services: Sequence[Service], ports: Ports, report: Callable[[set[str]], None]
) -> None:
    """Wait for all services; `report` is called with the names of all that are ready. Raises VideoSSRError."""
    deadline = time.monotonic() + START_SECONDS
    while find_supervisor(project) and time.monotonic() < deadline:
        ready = ready_services(project, services, ports)
        report(ready)
        if len(ready) == len(services):
            return
        time.sleep(0.5)
    late = [service.name for service in services if service.name not in ready_services(project, services, ports)]
    raise VideoSSRError(f"{late[0]} is not ready: read why in {services_folder(project).name}/{late[0]}.log")


def stop(project: Path) -> bool:
    """Stop the services of this project and nothing else; False where none run."""
    supervisor = find_supervisor(project)
    if supervisor is None:
        return False
    supervisor.terminate()
    try:
        supervisor.wait(2 * STOP_SECONDS)
    except psutil.TimeoutExpired:
        raise VideoSSRError(
            f"the services did not stop in {2 * STOP_SECONDS} s: end process {supervisor.pid} yourself"
        ) from None
    return True


def require_same_ports(running: Ports, wanted: Ports) -> None:
    """Raise ConfigError where the services run on other ports than those asked for."""
    if running != wanted:
        raise ConfigError(f"the services run on other ports ({running}): stop them first (videossr down)")


def _program_section(priority: int, service: Service) -> str:
    command = shlex.join(service.command)  # supervisord stops services in the reverse order of their priorities
    return _PROGRAM_SECTION.format(name=service.name, command=command, priority=priority, stop_seconds=STOP_SECONDS)


def _service_name(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SUPERVISOR_PROCESS_NAME")
    except psutil.Error:
        return None
