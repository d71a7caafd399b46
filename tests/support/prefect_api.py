"""A Prefect server for tests, flows that run against it, and answers to those that wait for a person."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from flows import server
from tests.support import ROOT

PYTHONPATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])


@contextmanager
def project_server(project: Path) -> Iterator[str]:
    """The address of the API of a Prefect server of the project in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("PYTHONPATH", PYTHONPATH)  # `flows` is not installed, and the project in this folder has none
        patch.setenv("PREFECT_HOME", str(project / ".prefect"))
        patch.setenv("VIDEOSSR_PREFECT_PORT", "9")  # not the server of the project that is tested
        patch.delenv("PREFECT_API_URL", raising=False)
        with server.prefect_server() as url:
            yield url


def start_flow(project: Path, api: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program that calls a flow, in the project and against its server."""
    variables = {**os.environ, "PREFECT_API_URL": api, "PYTHONPATH": PYTHONPATH}
    variables |= {"DVC_ROOT": str(project), "PREFECT_HOME": str(project / ".prefect")}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(
        command, cwd=project, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def give_answer(api: str, answer: Mapping[str, Any]) -> None:
    """Answer the flow run that waits, as the form in the UI does."""
    run = wait_for_pause(api)
    if call(api, f"flow_runs/{run}/resume", {"run_input": answer})["status"] != "ACCEPT":
        raise AssertionError("the answer was not accepted")


def wait_for_pause(api: str) -> str:
    """The id of the flow run that waits for an answer, once its form is stored."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = call(api, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}})
        # A run waits before it has stored its form; until then an answer is not accepted.
        for run in runs:
            form = run["state"]["state_details"]["run_input_keyset"]["schema"]
            if call(api, f"flow_runs/{run['id']}/input/filter", {"prefix": form}):
                return str(run["id"])
        time.sleep(0.5)
    raise AssertionError("no run waits for an answer")


def call(api: str, path: str, body: Mapping[str, Any]) -> Any:
    """One call of Prefect's REST API. A busy server answers 503: it is asked again, as Prefect's own client does."""
    with requests.Session() as session:
        retry = Retry(total=8, backoff_factor=1, status_forcelist=[503], allowed_methods=None)
        session.mount("http://", HTTPAdapter(max_retries=retry))
        reply = session.post(f"{api}/{path}", json=body, timeout=60)
    reply.raise_for_status()
    return reply.json() if reply.content else None
