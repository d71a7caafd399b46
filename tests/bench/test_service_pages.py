"""Pictures of the pages of Prefect and MLflow, from the real services of a small project."""

import shutil
import tempfile
from pathlib import Path

import pytest

from bench.operations import Project
from bench.screenshots import take_service_pictures
from bench.service_pages import ServicePage, show_service
from tests.support import ROOT
from tests.support.browser import find_chromium, open_browser
from tests.support.evaluated_project import make_evaluated_project, write_run
from tests.support.prefect_api import wait_for_pause
from videossr import tracking

SHOWN = {
    *(f"prefect-{name}" for name in ("dashboard", "runs", "approval", "deployments", "artifact-viubench")),
    *(f"prefect-deployment-{name}" for name in ("weekly", "promote", "batch", "champion")),
    *(f"mlflow-{name}" for name in ("experiments", "runs", "run", "model")),
}


@pytest.fixture
def operated(tmp_path, monkeypatch):
    """Services of a project with a promotion that waits for a person, a version, and a run of the pipeline."""
    if find_chromium() is None:
        pytest.skip("needs Chromium")
    folder = make_evaluated_project(tmp_path / "project")
    shutil.copyfile(ROOT / "prefect.yaml", folder / "prefect.yaml")
    shutil.copytree(ROOT / "flows", folder / "flows")
    monkeypatch.chdir(folder)
    write_run(folder, "first", 0.75)
    pipeline = tracking.PipelineRun(folder, {}, folder / "work/last.json")
    for name, value in pipeline.open().items():
        monkeypatch.setenv(name, value)
    with tracking.stage_run(folder, "train", {}):
        pass
    pipeline.run.end("FINISHED")
    project = Project(folder)
    try:
        project.up()
        promotion = project.call("deployments/name/promote/promote", method="GET")["id"]
        project.call(f"deployments/{promotion}/create_flow_run", {})
        wait_for_pause(project.api)
        yield project
    finally:
        project.down()


@pytest.mark.slow
@pytest.mark.timeout(900)  # services start one after the other, minutes on a busy machine
def test_every_page_of_the_services_shows_what_it_is_for_and_asks_for_nothing_outside(operated, tmp_path):
    out = tmp_path / "out"
    assert take_service_pictures(operated.folder, operated.ports, out) == []
    assert {path.stem for path in out.iterdir() if path.stat().st_size} >= SHOWN

    address = f"http://127.0.0.1:{operated.ports.prefect}"
    with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as page:
        wrong = ServicePage("wrong", address, ("no page says this",))
        assert list(show_service(page, wrong, out)) == ["wrong: does not show no page says this"]
        newer = ServicePage("newer", f"{address}/v2", ("Dashboard",))
        assert {fault.split("/config/")[0] for fault in show_service(page, newer, out)} == {
            "newer: asks for https://sr-client-cfg.amplitude.com"
        }
