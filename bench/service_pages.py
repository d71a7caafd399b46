"""The pages of Prefect and MLflow that show what a project did, and a picture of each.

They are the pages of others: checked is only that each shows what it is for, by name, and asks for nothing outside this
machine. A page that has nothing to show yet (no run, no model) is left out.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.browser import Page
from videossr import tracking
from videossr.errors import VideoSSRError
from videossr.services.definitions import HOST, Ports, prefect_api
from videossr.services.supervisor import running_ports

_DRAWN_SECONDS = 2.0  # charts grow after their texts are there
_STAGES_OF_RUN = "button[data-component-id*=runnamecellrenderer]"  # shows the runs below one in MLflow's table
_OWN = (f"http://{HOST}:", "data:", "blob:")


@dataclass(frozen=True)
class ServicePage:
    """A page at `address` with the texts that it `shows`.

    Where `press` is given, a CSS selector, it is clicked once the first text is there, to show the others.
    """

    name: str
    address: str
    shows: tuple[str, ...]
    press: str = ""


@contextmanager
def services(project: Path) -> Iterator[Ports]:
    """The ports of the services of this project, which are started, and stopped afterwards, if none run."""
    ports = running_ports(project)
    if ports is not None:
        yield ports
        return
    _videossr("up")
    try:
        ports = running_ports(project)
        assert ports is not None  # `up` waits for all of them
        yield ports
    finally:
        _videossr("down")


def service_pages(project: Path, ports: Ports) -> list[ServicePage]:
    """The pages that have something to show."""
    # A server of the team is none of these services.
    mlflow = [] if tracking.database_uri(project).startswith("http") else _mlflow_pages(project, ports)
    return [*_prefect_pages(ports), *mlflow]


def show_service(page: Page, shown: ServicePage, out: Path) -> Iterator[str]:
    """Write a picture of the page to the folder `out`; returns what is wrong with it."""
    page.requests.clear()
    page.visit(shown.address)
    for number, text in enumerate(shown.shows):
        if not page.shows_in_time(text):
            yield f"{shown.name}: does not show {text}"
            break
        if shown.press and number == 0:
            page.click(shown.press)
    time.sleep(_DRAWN_SECONDS)
    page.screenshot(out / f"{shown.name}.png")
    yield from (f"{shown.name}: asks for {url}" for url in page.requests if not url.startswith(_OWN))


def _prefect_pages(ports: Ports) -> Iterator[ServicePage]:
    address = f"http://{HOST}:{ports.prefect}"
    yield ServicePage("prefect-dashboard", address, ("Dashboard", "Flow Runs", "gpu"))
    for run in _prefect(ports, "flow_runs/filter", sort="START_TIME_DESC", limit=1):
        yield ServicePage("prefect-runs", f"{address}/runs", (run["name"],))
    for run in _prefect(ports, "flow_runs/filter", **_runs_in_state("PAUSED")):
        yield ServicePage("prefect-approval", f"{address}/runs/flow-run/{run['id']}", (run["name"], "Paused", "Resume"))
    for run in _prefect(ports, "flow_runs/filter", **_runs_in_state("COMPLETED")):
        yield ServicePage("prefect-run", f"{address}/runs/flow-run/{run['id']}", (run["name"], "Completed"))
    deployments = _prefect(ports, "deployments/filter")
    yield ServicePage("prefect-deployments", f"{address}/deployments", tuple(each["name"] for each in deployments))
    for deployment in deployments:
        name = deployment["name"]
        yield ServicePage(f"prefect-deployment-{name}", f"{address}/deployments/deployment/{deployment['id']}", (name,))
    for artifact in _prefect(ports, "artifacts/latest/filter"):
        if artifact["type"] in ("table", "markdown") and artifact["key"] in ("gate", "viubench", "stages", "drift"):
            where = f"{address}/artifacts/artifact/{artifact['latest_id']}"
            yield ServicePage(f"prefect-artifact-{artifact['key']}", where, (artifact["key"],))


def _mlflow_pages(project: Path, ports: Ports) -> Iterator[ServicePage]:
    address = f"http://{HOST}:{ports.mlflow}"
    yield ServicePage("mlflow-experiments", f"{address}/#/experiments", (tracking.MLFLOW_NAME,))
    client = tracking.mlflow_client(project)
    experiment = client.get_experiment_by_name(tracking.MLFLOW_NAME)
    is_pipeline = "tags.`dvc.stage` = 'pipeline'"
    found = [] if experiment is None else client.search_runs([experiment.experiment_id], is_pipeline, max_results=1)
    for run in found:
        below = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        stages = client.search_runs([run.info.experiment_id], below)
        # The table cuts long names off on the screen, not in the page.
        names = (run.info.run_name, *(each.info.run_name for each in stages))
        runs = f"{address}/#/experiments/{run.info.experiment_id}/runs"
        yield ServicePage("mlflow-runs", runs, names, _STAGES_OF_RUN)
        yield ServicePage("mlflow-run", f"{address}/{tracking.run_page(project, run.info.run_id)}", names[:1])
    for version in tracking.versions(project)[-1:]:
        where = f"{address}/#/models/{tracking.MLFLOW_NAME}/versions/{version.number}"
        yield ServicePage("mlflow-model", where, (tracking.MLFLOW_NAME, f"Version {version.number}"))


def _runs_in_state(state: str) -> dict[str, Any]:
    return {"flow_runs": {"state": {"type": {"any_": [state]}}}, "sort": "START_TIME_DESC", "limit": 1}


def _prefect(ports: Ports, path: str, **body: Any) -> list[dict[str, Any]]:
    reply = requests.post(f"{prefect_api(ports)}/{path}", data=json.dumps(body), timeout=60)
    reply.raise_for_status()
    return list(reply.json())


def _videossr(command: str) -> None:
    if subprocess.run([sys.executable, "-m", "videossr.cli", command], check=False).returncode != 0:
        raise VideoSSRError(f"videossr {command} failed: see above")
