"""The command that serves the web pages of MLflow or Prefect."""

import os
import socket
import sys
from typing import Annotated

import typer

from videossr.errors import ConfigError
from videossr.workspace import configure_tools, project_root

_DEFAULT_PORTS = {"mlflow": 5000, "prefect": 4200}


def serve_pages(
    which: Annotated[str, typer.Argument(help="mlflow or prefect")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0: the default port of the server")
    ] = 0,
) -> None:
    """Serve MLflow's or Prefect's pages of this project, on this machine only."""
    from videossr.tracking import database_uri
    from videossr.tracking.uncommitted import without_credentials

    if which not in _DEFAULT_PORTS:
        raise ConfigError(f"the pages to serve must be one of {', '.join(_DEFAULT_PORTS)}, got '{which}'")
    configure_tools(project_root())
    if which == "mlflow" and database_uri(project_root()).startswith("http"):
        address = without_credentials(database_uri(project_root()))
        raise ConfigError(f"the runs are on a server of their own: open {address} in a browser")
    port = port or _DEFAULT_PORTS[which]
    require_free_port(port, f"ui {which}")
    (project_root() / "mlruns").mkdir(exist_ok=True)
    commands = {
        "mlflow": ["-m", "mlflow", "server", "--workers", "1"],
        "prefect": ["-m", "prefect", "server", "start"],
    }
    os.environ["MLFLOW_BACKEND_STORE_URI"] = database_uri(project_root())  # not in the command, which everyone sees
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["PREFECT_UI_API_URL"] = f"http://127.0.0.1:{port}/api"
    print(f"{which} at http://127.0.0.1:{port} (Ctrl-C stops it)", flush=True)
    command = [sys.executable, *commands[which], "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, command)


def require_free_port(port: int, command: str, option: str = "port") -> None:
    """Raise ConfigError where a server cannot listen on this port of 127.0.0.1.

    `command` of `videossr` and its `option` are what the sentence names.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used ({error.strerror}): choose another (videossr {command} --{option} N)"
            ) from None
