"""The commands that start, stop and show the services of the project."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from videossr.cli.ui import require_free_port
from videossr.errors import VideoSSRError
from videossr.services import supervisor
from videossr.services.definitions import Ports, Service, project_services, service_environment
from videossr.services.systemd import systemd_unit
from videossr.workspace import project_root

_Port = Annotated[int, typer.Option(min=1, max=65535, help="port on 127.0.0.1")]


def start_services(prefect_port: _Port = 4200, mlflow_port: _Port = 5000, pages_port: _Port = 8080) -> None:
    """Start Prefect, its workers, MLflow and the page server in the background, and register the deployments."""
    from videossr.tracking import database_uri

    project, ports = project_root(), Ports(prefect_port, mlflow_port, pages_port)
    uri = database_uri(project)
    services = project_services(ports, uri)
    running = supervisor.running_ports(project)
    if running is None:
        _require_free_ports(ports)
        supervisor.start(project, services, ports, service_environment(ports, uri))
    else:
        supervisor.require_same_ports(running, ports)
    with tqdm(total=len(services) + 1, desc="services", unit="service") as bar:
        supervisor.wait_until_ready(project, services, ports, lambda ready: _show(bar, len(ready)))
        _register_deployments(service_environment(ports, uri), supervisor.start_time(project))
        bar.update()
    _print_states(services, ports)


def stop_services() -> None:
    """Stop the services that `videossr up` started, and nothing else."""
    print("stopped" if supervisor.stop(project_root()) else "no service of this project runs")


def show_services() -> None:
    """Show which services of this project run, and their addresses."""
    from videossr.tracking import database_uri

    ports = supervisor.running_ports(project_root())
    if ports is None:
        print("no service of this project runs: start them (videossr up)")
        return
    _print_states(project_services(ports, database_uri(project_root())), ports)


def print_unit() -> None:
    """Print a systemd user unit that starts the services of this project when the machine starts."""
    print(systemd_unit(project_root(), Path(sys.executable).parent / "videossr"))


def _require_free_ports(ports: Ports) -> None:
    for name, port in dataclasses.asdict(ports).items():
        require_free_port(port, "up", f"{name}-port")


def _register_deployments(environment: Mapping[str, str], started_at: float) -> None:
    # A process of its own, because Prefect belongs to the flows.
    command = [sys.executable, "-m", "flows.deploy", "--started-at", str(started_at)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=project_root(), env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VideoSSRError(f"the deployments were not registered: {done.stderr.strip()}")


def _show(bar: "tqdm[NoReturn]", num_ready: int) -> None:
    bar.n = num_ready
    bar.refresh()


def _print_states(services: Sequence[Service], ports: Ports) -> None:
    ready = supervisor.ready_services(project_root(), services, ports)
    table = Table("service", "state", "address")
    for service in services:
        table.add_row(service.name, "ready" if service.name in ready else "not ready", service.link or "")
    Console().print(table)
