"""The commands of DVC that the documentation names, on a graph of one fast stage with the project's own plots."""

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from tests.support.object_store import SECRET, local_s3
from tests.support.tiny_run import run

PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
STAGE = """
import csv, json, pathlib, yaml
steps = yaml.safe_load(open("params.yaml"))["train"]["grpo"]["steps"]
for folder in ("models/policy", "reports/plots"):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
pathlib.Path("models/policy/weights").write_text(str(steps))
json.dump({"rows": {"after": {"overall": float(steps)}}}, open("reports/viubench.json", "w"))
for name, columns, rows in (
    ("grpo", ("step", "reward"), [(n, n / steps) for n in range(steps)]),
    ("warmup", ("step", "loss"), [(0, 1.0)]),
    ("scores", ("column", "score"), [("overall", steps)]),
    ("benchmarks", ("benchmark", "score"), [("MVBench, accuracy", steps)] if steps > 3 else []),
):
    with open(f"reports/plots/{name}.csv", "w") as file:
        csv.writer(file).writerows([columns, *rows])
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with local_s3(monkeypatch, tmp_path_factory.mktemp("aws")) as client:
        yield client


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in git whose run is committed."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in (".dvcignore", ".gitignore"):
        shutil.copyfile(ROOT / name, folder / name)
    stage = {
        "cmd": "python stage.py",
        "deps": ["stage.py"],
        "params": ["train.grpo.steps"],
        "outs": ["models/policy", "reports/plots"],
        "metrics": ["reports/viubench.json"],
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}, "plots": PLOTS}))
    (folder / "stage.py").write_text(STAGE)
    write_steps(folder, 3)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "repro")
    commit(folder, "a run")
    return folder


def write_steps(folder: Path, steps: int) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({"train": {"grpo": {"steps": steps}}}))


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", message)


def test_every_plot_is_of_a_file_that_the_report_writes() -> None:
    outputs = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["report"]["outs"]
    files = {file for plot in PLOTS for settings in plot.values() for file in settings["y"]}
    assert "reports/plots" in outputs and {Path(file).parent.as_posix() for file in files} == {"reports/plots"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_another_clone_has_the_results_from_a_remote(project: Path, tmp_path: Path, kind: str, request: Any) -> None:
    url = str(tmp_path / "remote")
    if kind == "s3":
        request.getfixturevalue("s3")
        url = "s3://bucket/dvc"
    run(project, "dvc", "remote", "add", "-d", "lab", url)
    commit(project, "a remote")
    run(project, "dvc", "push")
    clone = tmp_path / "clone"
    run(project, "git", "clone", "-q", str(project), str(clone))
    run(clone, "dvc", "pull")
    assert (clone / "models/policy/weights").read_text() == "3"
    assert "didn't change, skipping" in run(clone, "dvc", "repro")
    assert not any(SECRET in path.read_text(errors="replace") for path in (clone / ".dvc").rglob("config*"))


@pytest.mark.slow
def test_two_commits_are_compared(project: Path) -> None:
    write_steps(project, 5)
    run(project, "dvc", "repro")
    commit(project, "longer")
    metrics = json.loads(run(project, "dvc", "metrics", "diff", "HEAD~1", "--json"))
    (change,) = metrics["reports/viubench.json"].values()
    assert (change["old"], change["new"]) == (3.0, 5.0)
    drawn = json.loads(run(project, "dvc", "plots", "diff", "HEAD~1", "--json"))
    assert not drawn.get("errors") and len(drawn["data"]) == len(PLOTS)
    reward = drawn["data"]["mean smooth reward of GRPO"][0]["content"]["data"]["values"]
    assert len(reward) == 3 + 5
    run(project, "dvc", "plots", "diff", "HEAD~1")
    assert (project / "dvc_plots/index.html").is_file()


@pytest.mark.slow
def test_experiments_run_at_once_or_from_a_queue_and_are_compared(project: Path) -> None:
    run(project, "dvc", "exp", "run", "-S", "train.grpo.steps=7", "-n", "seven")
    run(project, "git", "checkout", "-q", ".")
    run(project, "dvc", "checkout")
    for steps in (8, 9):
        run(project, "dvc", "exp", "run", "--queue", "-S", f"train.grpo.steps={steps}", "-n", f"n{steps}")
    run(project, "dvc", "queue", "start")
    deadline = time.monotonic() + 180
    while "Running" in (status := run(project, "dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert status.count("Success") == 2, status
    rows = list(csv.DictReader(run(project, "dvc", "exp", "show", "--csv", "--no-pager").splitlines()))
    scores = {row["Experiment"]: row["rows.after.overall"] for row in rows}
    assert {name: float(scores[name]) for name in ("seven", "n8", "n9")} == {"seven": 7, "n8": 8, "n9": 9}
    assert yaml.safe_load((project / "params.yaml").read_text())["train"]["grpo"]["steps"] == 3
    run(project, "dvc", "exp", "apply", "n9")
    assert (project / "models/policy/weights").read_text() == "9"
