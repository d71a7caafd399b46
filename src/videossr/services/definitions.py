"""The services of a project: their commands, ports and addresses. All of them listen on 127.0.0.1 alone."""

from dataclasses import dataclass
from pathlib import Path

from videossr.errors import ConfigError

HOST = "127.0.0.1"
# Training and evaluation may use the GPU: one run at a time. A run that may wait for a person must not block them.
WORK_POOLS = {"gpu": 1, "local": None}


@dataclass(frozen=True)
class Ports:
    """The TCP ports of the services on 127.0.0.1."""

    prefect: int = 4200
    mlflow: int = 5000
    pages: int = 8080

    def __post_init__(self) -> None:
        numbers = [self.prefect, self.mlflow, self.pages]
        if not all(0 < number <= 65535 for number in numbers) or len(set(numbers)) < len(numbers):
            raise ConfigError(f"the ports must be three different numbers of 1..65535, got {numbers}")


@dataclass(frozen=True)
class Service:
    """One process that is restarted when it ends.

    `command` is what follows the Python interpreter. `link` is its page for people, `health` the URL that answers when
    it is ready. A worker has neither: its Prefect server tells whether it is ready.
    """

    name: str
    command: tuple[str, ...]
    link: str | None = None
    health: str | None = None


def project_services(ports: Ports, database_uri: str) -> list[Service]:
    """The services in the order of their start. A `database_uri` of `http...` is a server that runs elsewhere."""
    mlflow = () if database_uri.startswith("http") else (_mlflow_server(ports),)
    workers = [_prefect_worker(ports, pool) for pool in WORK_POOLS]
    return [_prefect_server(ports), *workers, *mlflow, _page_server(ports)]


def service_environment(ports: Ports, database_uri: str) -> dict[str, str]:
    """The environment variables that the services need. `database_uri` is that of the project's MLflow database."""
    return {
        "PREFECT_API_URL": prefect_api(ports),
        "PREFECT_UI_API_URL": prefect_api(ports),
        "MLFLOW_BACKEND_STORE_URI": database_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def prefect_api(ports: Ports) -> str:
    """The URL of the Prefect API."""
    return f"http://{HOST}:{ports.prefect}/api"


def page_address(ports: Ports) -> str:
    """The URL of the folder `reports/`."""
    return f"http://{HOST}:{ports.pages}"


def _prefect_server(ports: Ports) -> Service:
    command = ("-m", "prefect", "server", "start", "--host", HOST, "--port", str(ports.prefect))
    return Service("prefect", command, f"http://{HOST}:{ports.prefect}", f"{prefect_api(ports)}/health")


def _prefect_worker(ports: Ports, pool: str) -> Service:
    name = f"worker-{pool}"
    worker = ("-m", "prefect", "worker", "start", "--type", "process", "--pool", pool, "--name", name)
    # A worker that starts before its server never hears of cancelled runs at once, only when it polls.
    return Service(name, ("-m", "videossr.services.start_after", f"{prefect_api(ports)}/health", *worker))


def _mlflow_server(ports: Ports) -> Service:
    address = f"http://{HOST}:{ports.mlflow}"
    command = ("-m", "mlflow", "server", "--workers", "1", "--host", HOST, "--port", str(ports.mlflow))
    return Service("mlflow", command, address, f"{address}/health")


def _page_server(ports: Ports) -> Service:
    address = page_address(ports)
    command = ("-m", "http.server", "--bind", HOST, "--directory", "reports", str(ports.pages))
    return Service("pages", command, address, address)


def services_folder(project: Path) -> Path:
    """Where the configuration, the logs and the process id of the services are."""
    return project / ".services"
