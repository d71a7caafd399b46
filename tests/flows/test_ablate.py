"""An ablation runs what is missing, records each variant once, and ends in its report."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from dvc.repo import Repo

from flows import ablate, experiments
from flows.runtime import PARAMS
from tests.support.ablations import share_right, write_replies, write_start
from tests.support.evaluated_project import make_evaluated_project
from tests.support.tiny_run import make_tiny_run, run
from videossr import tracking
from videossr.ablation.variants import WHOLE, plan_ablation
from videossr.errors import ConfigError
from videossr.evaluation.runner import read_scored_replies
from videossr.evaluation.viubench import gain, summarise, write_results
from videossr.recipe import load_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in git, without data."""
    folder = make_evaluated_project(tmp_path / "project")
    (folder / ".dvc" / "config.local").unlink()
    (folder / ".gitignore").write_text("work/\nmlruns/\nreports/\n")
    (folder / "sources").mkdir()
    (folder / "sources" / "made.yaml").write_text("num_videos: 3\n")
    (folder / "sources" / "ablation-quick.yaml").write_text("num_videos: 3\n")
    monkeypatch.chdir(folder)
    return folder


def commit_all(project: Path) -> None:
    run(project, "git", "init", "-q", "-b", "main")
    run(project, "git", "add", "-A")
    run(project, "git", "commit", "-qm", "a run")


def write_finished(seeds: list[int]) -> list[Path]:
    """What finished runs of all variants of Figure 5 leave in work/ablations."""
    recipe = load_recipe(PARAMS)
    ablation = plan_ablation("figure5", recipe.pretext, recipe.train, recipe.frames.num_frames)
    runs = [one for batch in ablate._batches(ablation, seeds, recipe, ablate._key(recipe)) for one in batch]
    for one in runs:
        folder = write_replies(one.folder, 0.25, share_right(one.variant))
        before, after = (read_scored_replies(folder / f"{name}.jsonl") for name in ("before", "after"))
        bootstrap = {"bootstrap_samples": 200, "seed": 0}
        rows = {"before": summarise(before, **bootstrap), "after": summarise(after, **bootstrap)}
        write_results(folder / "viubench.json", rows, gain(before, after, **bootstrap), {})
        if one.variant.name == WHOLE:
            write_start(folder)
    return [one.folder for one in runs]


def test_what_is_done_is_not_done_again_and_each_variant_is_a_child_in_mlflow_once(project: Path) -> None:
    commit_all(project)
    folders = write_finished([0, 1])
    for _ in range(2):
        page = ablate.run_ablation("figure5", [0, 1], quick=False)
    assert page == Path("reports/ablations/figure5.html") and page.exists()
    with Repo(str(project)) as repo:
        assert repo.experiments.celery_queue.status() == []
    client = tracking.mlflow_client(project)
    experiment = client.get_experiment_by_name(tracking.MLFLOW_NAME)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [one for one in runs if one.data.tags["dvc.stage"] == "ablation figure5"]
    children = [one for one in runs if "mlflow.parentRunId" in one.data.tags]
    assert len(children) == len(folders) == 8
    assert {one.data.tags["mlflow.parentRunId"] for one in children} == {one.info.run_id for one in parents}
    assert len(parents) == 1
    assert {one.info.status for one in runs} == {"FINISHED"}
    for label in ("all-smooth seed 0", "counting seed 1"):
        assert sum(label in one.info.run_name for one in children) == 1


def test_other_parameters_or_seeds_are_other_runs(project: Path) -> None:
    commit_all(project)
    first = {path.name for path in write_finished([0])}
    assert not first & {path.name for path in write_finished([1])}
    params = yaml.safe_load(PARAMS.read_text())
    params["train"]["grpo"]["learning_rate"] = 1.0e-5
    PARAMS.write_text(yaml.safe_dump(params))
    assert not first & {path.name for path in write_finished([0])}


def test_without_a_commit_the_error_says_what_to_do(project: Path) -> None:
    with pytest.raises(ConfigError, match="experiments need the project in git with a commit"):
        ablate.run_ablation("figure5", [0], quick=False)


def test_a_seed_twice_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigError, match="seeds must differ from each other, got 1 1"):
        ablate.run_ablation("figure5", [1, 1], quick=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/my videos/it's", r"'/my videos/it\'s'"),
        ({"jigsaw/6": 0.5, "grounding/mirror": 0}, "{jigsaw/6:0.5,grounding/mirror:0}"),
        ([{"steps": 2}], "[{steps:2}]"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_a_value_is_written_as_dvc_reads_it(value: object, text: str) -> None:
    from dvc.utils.hydra import to_hydra_overrides

    assert experiments.to_hydra(value) == text
    assert to_hydra_overrides([f"++section.key={text}"])[0].value() == value


def test_a_kill_while_an_experiment_is_queued_leaves_the_workspace_as_it_was(project: Path) -> None:
    commit_all(project)
    text = PARAMS.read_text()
    code = (
        "from pathlib import Path; from flows import experiments; "
        "experiments.queue_experiment('one', {'train.seed': 5}, 'evaluate', Path.cwd())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    queueing = subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)
    while not psutil.Process(queueing.pid).children():
        time.sleep(0.01)
    (dvc,) = psutil.Process(queueing.pid).children()
    os.killpg(queueing.pid, signal.SIGKILL)
    queueing.wait()
    dvc.wait()
    assert PARAMS.read_text() == text
    assert run(project, "git", "symbolic-ref", "--short", "HEAD").strip() == "main"
    with Repo(str(project)) as repo:
        assert [(item["name"], item["status"]) for item in repo.experiments.celery_queue.status()] == [
            ("one", "Queued")
        ]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two runs of the graph
def test_a_killed_ablation_continues_with_the_variants_that_are_missing(tmp_path: Path) -> None:
    project = make_tiny_run(tmp_path / "project")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["pretext"]["train"]["mixture"] = {"grounding/mirror": 1}  # two variants: the mixture, and its only task
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    run(project, "git", "commit", "-qam", "one task")
    command = [sys.executable, "-m", "flows.ablate", "figure5", "--seeds", "0"]
    environment = {**os.environ, "PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"}
    done = project / "work" / "ablations"
    killed = subprocess.Popen(command, cwd=project, env=environment, start_new_session=True)
    while not any(done.glob("*all-smooth*/viubench.json")):
        assert killed.poll() is None
        time.sleep(1)
    time.sleep(5)  # the second variant is being queued or has started
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    first = next(done.glob("*all-smooth*/viubench.json"))
    written = first.stat().st_mtime_ns
    subprocess.run(command, cwd=project, env=environment, check=True)
    assert first.stat().st_mtime_ns == written
    assert (project / "reports" / "ablations" / "figure5.html").exists()
    assert len([path for path in done.iterdir() if path.is_dir()]) == 2
