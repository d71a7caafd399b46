"""A promotion waits for a person in Prefect: yes makes the champion, no and silence do not; scores are on its page."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from flows import artifacts, server
from tests.support import ROOT
from tests.support.evaluated_project import make_evaluated_project, write_run
from videossr import tracking

PROMOTE = """
import sys
from flows.promote import promote
print(promote(approval=True, timeout_seconds=int(sys.argv[1])))
"""
GATE = {
    "success": False,
    "summary": "1 of 60 rules failed",
    "failures": [{"table": "manifest", "expectation": "no video twice", "detail": "1 of 2", "rows": ["<b>*a*.mp4"]}],
    "warnings": [],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = make_evaluated_project(tmp_path_factory.mktemp("approval") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run(folder, "first", 0.75)
    return folder


@pytest.fixture(scope="module")
def api(project):
    """A Prefect server of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("PREFECT_HOME", str(project / ".prefect"))
        patch.setenv("VIDEOSSR_PREFECT_PORT", "9")  # not the server of the project that is tested
        patch.delenv("PREFECT_API_URL", raising=False)
        with server.prefect_server() as url:
            yield url


def test_the_verdict_of_the_gate_gives_names_of_files_no_meaning():
    markdown = artifacts.gate_markdown(GATE)
    assert markdown.startswith("**failed**") and "<b>" not in markdown and "*a*" not in markdown
    assert "no video twice" in markdown


def test_the_score_table_has_a_row_for_each_policy(project):
    rows = artifacts.score_rows(json.loads((project / "reports" / "viubench.json").read_text()))
    assert [row["row"] for row in rows] == ["random", "constant", "blind", "before", "after"]
    assert rows[4]["overall"].startswith("75.0 [") and rows[4]["jigsaw_6"] == "75.0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, "nobody approved it in time"),
        ({"approve": False, "reason": "too few videos"}, "it was not approved: too few videos"),
        ({"approve": True, "reason": "looked at it"}, "it was approved and is the champion now"),
    ],
)
def test_only_a_yes_makes_the_champion(project, api, answer, outcome):
    process = start_promotion(project, api, timeout=5 if answer is None else 300)
    if answer is not None:
        give_answer(api, answer)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and outcome in output, output
    champion = tracking.champion(project)
    assert (champion is not None) == bool(answer and answer["approve"])
    published = {item["key"] for item in call(api, "artifacts/latest/filter", {})}
    assert "viubench" in published


def start_promotion(project, api, timeout):
    variables = {**os.environ, "PREFECT_API_URL": api, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    variables |= {"DVC_ROOT": str(project), "PREFECT_HOME": str(project / ".prefect")}
    command = [sys.executable, "-c", PROMOTE, str(timeout)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=project, env=variables, text=True, **streams)


def give_answer(api, answer):
    """Answer the flow run that waits, as the form in the UI does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = call(api, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}})
        # A run waits before it has stored its form; until then an answer is not accepted.
        if runs and call(api, f"flow_runs/{runs[0]['id']}/resume", {"run_input": answer})["status"] == "ACCEPT":
            return
        time.sleep(0.5)
    raise AssertionError("no run waits for an answer")


def call(api, path, body):
    """One call of Prefect's REST API."""
    request = urllib.request.Request(f"{api}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read() or b"null")
