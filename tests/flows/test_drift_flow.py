"""The drift flow on a real Prefect server: a planted batch starts a training, or asks a person first; others do not."""

import asyncio
import shutil

import pytest
from prefect.client.orchestration import PrefectClient

from tests.support import ROOT
from tests.support.drift_batches import make_batch, write_data, write_planted
from tests.support.prefect_api import call, give_answer, project_server, start_flow

DRIFT = """
import sys
from flows.drift import drift
state = drift(sys.argv[1], then=sys.argv[2], timeout_seconds=int(sys.argv[3]), return_state=True)
print(state.type.value, state.message or state.result())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a server, and two flows in a test


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project without a champion, trained on one batch; `ordinary` and `planted` are new ones."""
    folder = tmp_path_factory.mktemp("drift") / "project"
    folder.mkdir()
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    make_batch(folder / "videos", 3)
    make_batch(folder / "ordinary", 4)
    write_planted(folder / "planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VIDEOSSR_ENGINE", "here")
        write_data(folder)
        yield folder


@pytest.fixture(scope="module")
def api(project):
    with project_server(project) as url:
        yield url


def run_drift(project, api, batch, then, timeout=300, answer=None):
    """What the flow returned."""
    process = start_flow(project, api, DRIFT, batch, then, str(timeout))
    if answer is not None:
        give_answer(api, answer)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output.splitlines()[-1]


def trainings(api):
    return call(api, "flow_runs/filter", {"flows": {"name": {"any_": ["pipeline"]}}})


def test_without_the_training_deployment_the_run_fails_with_the_remedy(project, api):
    outcome = run_drift(project, api, "planted", "train")
    assert outcome.startswith("FAILED") and "there is no deployment pipeline/weekly to start" in outcome
    assert "make up" in outcome and trainings(api) == []


@pytest.fixture(scope="module")
def deployment(api):
    """`pipeline/weekly` as the server knows it; no worker runs here."""

    async def create():
        async with PrefectClient(api) as client:
            await client.create_deployment(await client.create_flow_from_name("pipeline"), name="weekly")

    asyncio.run(create())


def test_an_ordinary_batch_starts_nothing(project, api, deployment):
    outcome = run_drift(project, api, "ordinary", "train")
    assert outcome.startswith("COMPLETED no drift") and trainings(api) == []


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (None, "nobody approved it in time"),
        ({"approve": False, "reason": "one event"}, "it was not approved: one event"),
    ],
)
def test_without_a_yes_a_planted_batch_starts_nothing(project, api, deployment, answer, phrase):
    outcome = run_drift(project, api, "planted", "ask", timeout=5 if answer is None else 300, answer=answer)
    assert outcome.startswith("COMPLETED") and "brightness" in outcome and outcome.endswith(phrase)
    assert trainings(api) == []


def test_a_planted_batch_starts_a_training_after_a_yes_or_at_once(project, api, deployment):
    outcome = run_drift(project, api, "planted", "ask", answer={"approve": True, "reason": "a new camera"})
    assert "brightness" in outcome and "it was approved: a new camera; the run" in outcome
    (first,) = trainings(api)
    assert first["name"] in outcome and first["state"]["type"] == "SCHEDULED"
    outcome = run_drift(project, api, "planted", "train")
    names = {run["name"] for run in trainings(api)} - {first["name"]}
    assert len(names) == 1 and names.pop() in outcome
    assert {artifact["key"] for artifact in call(api, "artifacts/latest/filter", {})} == {"drift"}
