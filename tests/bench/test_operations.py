"""How the states of runs are held against what ran, and that the page shows the rows of the file."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bench import operations
from tests.support import ROOT


def notes(*lines: str) -> list[tuple[str, str, float]]:
    """`a start`, `a end`, ... at the seconds 0, 1, 2 ..."""
    return [(run, what, float(at)) for at, (run, what) in enumerate(line.split() for line in lines)]


def test_runs_that_did_what_their_states_say() -> None:
    states = {"a": "COMPLETED", "b": "COMPLETED", "c": "CANCELLED"}
    seen = notes("a start", "a start", "a end", "b start", "b end", "other start")
    outcome = operations.judge("server", ["a", "b", "c"], states, seen, 0, 1.0)
    assert (outcome.completed, outcome.cancelled, outcome.failed) == (2, 1, 0)
    assert (outcome.lost, outcome.twice, outcome.untrue, outcome.together) == (0, 0, 0, 0)


def test_every_kind_of_fault_is_counted() -> None:
    states = {"a": "COMPLETED", "b": "FAILED", "c": "RUNNING", "e": "COMPLETED"}
    seen = notes("b start", "c start", "c together", "b end", "e start", "e end", "e start", "e end")
    outcome = operations.judge("server", ["a", "b", "c", "d", "e"], states, seen, 0, 1.0)
    assert outcome.lost == 2  # c never ended, the server does not know d
    assert outcome.twice == 1  # e
    assert outcome.untrue == 2  # a did not run, b finished
    assert outcome.together == 1  # c beside b


def test_the_copy_queues_runs_of_the_real_deployment(tmp_path: Path) -> None:
    folder = operations.make_project(tmp_path / "project")
    deployments = {each["name"]: each for each in yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]}
    weekly, queued = deployments["weekly"], deployments["queued"]
    assert weekly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert {**queued, "name": "weekly", "concurrency_limit": weekly["concurrency_limit"]} == weekly


def test_a_stage_notes_that_another_one_runs_but_not_that_one_has_died(tmp_path: Path) -> None:
    folder = operations.make_project(tmp_path / "project")
    quick = (folder / "stage.py").read_text().replace("sleep(2)", "sleep(float(os.environ['SECONDS']))")
    (folder / "stage.py").write_text(quick)

    def start(run: str, seconds: float) -> subprocess.Popen[bytes]:
        variables = {**os.environ, "PREFECT__FLOW_RUN_ID": run, "SECONDS": str(seconds)}
        return subprocess.Popen([sys.executable, "stage.py"], cwd=folder, env=variables)

    killed = start("killed", 60)
    while not (folder / "notes.txt").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    assert start("beside", 0).wait() == 0
    killed.kill()
    killed.wait()
    assert start("after", 0).wait() == 0
    seen = [line.rsplit(" ", 1)[0] for line in (folder / "notes.txt").read_text().splitlines()]
    assert seen == ["killed start", "beside start", "beside together", "beside end", "after start", "after end"]


def test_the_page_shows_the_rows_of_the_file() -> None:
    page = (ROOT / operations.PAGE).read_text(encoding="utf-8")
    assert page == operations.with_rows(page, json.loads((ROOT / operations.OUT).read_text()))


def test_a_page_without_its_lines_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match="must hold the lines"):
        operations.with_rows("", [])
