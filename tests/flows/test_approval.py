"""A promotion waits for a person in Prefect: yes makes the champion, no and silence do not; scores are on its page."""

import json

import pytest

from flows import artifacts
from tests.support.browser import open_browser
from tests.support.evaluated_project import make_evaluated_project, write_run
from tests.support.prefect_api import call, give_answer, project_server, start_flow, wait_for_pause
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
    with project_server(project) as url:
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
        ({"approve": True, "reason": "looked at it"}, "it was approved: looked at it; it is the champion now"),
    ],
)
def test_only_a_yes_makes_the_champion(project, api, answer, outcome):
    process = start_promotion(project, api, timeout=5 if answer is None else 300)
    if answer is not None:
        give_answer(api, answer)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0 and outcome in output, output
    champion = tracking.champion(project)
    assert (champion is not None) == bool(answer and answer["approve"])
    published = {item["key"] for item in call(api, "artifacts/latest/filter", {})}
    assert "viubench" in published


def start_promotion(project, api, timeout):
    return start_flow(project, api, PROMOTE, str(timeout))


@pytest.mark.slow
@pytest.mark.parametrize("approve", [False, True])
def test_a_person_answers_in_the_pages_of_prefect(tmp_path, monkeypatch, approve):
    """The page of the run that waits shows the comparison; its form is filled in and sent in a real browser."""
    project = make_evaluated_project(tmp_path / "project")
    monkeypatch.chdir(project)
    write_run(project, "first", 0.75)
    with project_server(project) as api, open_browser(tmp_path / "profile") as page:
        process = start_promotion(project, api, timeout=300)
        page.resize(1280, 1000)
        page.visit(f"{api.removesuffix('/api')}/runs/flow-run/{wait_for_pause(api)}")
        page.click("button", "Resume")
        page.wait_for_text("Make it the champion? version 1 is significantly better: +50.0 points")
        if approve:
            page.click("label[role=switch]")
        page.type_into("textarea", "looked at it")
        page.click("button", "Submit")
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        answer = "it was approved" if approve else "it was not approved"
        assert f"{answer}: looked at it" in output
        page.visit(f"{api.removesuffix('/api')}/runs")
        page.wait_for_text("Completed")
    assert (tracking.champion(project) is not None) == approve
