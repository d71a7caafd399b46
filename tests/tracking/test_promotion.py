"""Lineage, the registry and promotion, on a real MLflow database in a folder whose name needs quoting."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest
from dvc.repo import Repo
from typer.testing import CliRunner

from flows import promote, runtime
from tests.support import tiny_policy
from tests.support.evaluated_project import (
    bench_samples,
    commit,
    make_evaluated_project,
    write_evaluation,
    write_policy,
    write_run,
)
from tests.support.videos import write_video
from videossr import tracking
from videossr.cli import app
from videossr.errors import PolicyError
from videossr.evaluation.benchmarks import load
from videossr.evaluation.made_benchmarks import make_benchmarks
from videossr.ingest.synthetic import SyntheticParams
from videossr.storage.atomic import write_text
from videossr.storage.fingerprint import folder_fingerprint


@pytest.fixture(scope="module")
def evaluated_project(tmp_path_factory):
    """The tests of this module run in its order: each may find the versions that earlier ones registered."""
    return make_evaluated_project(tmp_path_factory.mktemp("promoted") / "a 'quoted\" 100% project #1")


@pytest.fixture
def project(evaluated_project, monkeypatch):
    """The evaluated project as the working directory."""
    return use_as_project(evaluated_project, monkeypatch)


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """A project of its own with one whole run."""
    folder = use_as_project(make_evaluated_project(tmp_path / "project"), monkeypatch)
    write_run(folder, "first", 0.75)
    return folder


def use_as_project(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv(runtime.HANDOFF_VARIABLE, raising=False)
    return folder


def edit(path, old, new):
    """Replace text in an output as an editor that writes a new file does."""
    write_text(path, path.read_text().replace(old, new))


def test_a_project_without_a_trained_policy_has_no_lineage(tmp_path):
    with pytest.raises(PolicyError, match="run the pipeline first"):
        tracking.read_lineage(tmp_path)


def test_loading_the_champion_before_the_first_promotion_raises(tmp_path):
    with pytest.raises(PolicyError, match="no champion yet"):
        tracking.load_champion(tmp_path)


def test_a_first_model_that_does_not_beat_the_constant_answer_is_registered_and_not_champion(project):
    write_run(project, "first", 0.25)
    assert "version 1 is not significantly better" in promote.promote_if_better()
    assert tracking.champion(project) is None
    assert [version.policy for version in tracking.versions(project)] == [tracking.read_lineage(project).policy]


def test_the_same_policy_is_registered_once(project):
    promote.promote_if_better()
    assert len(tracking.versions(project)) == 1


def test_a_better_model_becomes_champion_with_its_lineage_and_the_reason(project, tmp_path):
    write_run(project, "second", 0.75, tiny_policy.write_tiny(tmp_path / "tiny"))
    assert "it is the champion now" in promote.promote_if_better()
    champion, hashes = tracking.champion(project), tracking.read_lineage(project).data
    assert champion is not None and champion.policy == hashes["models/policy"]
    client = tracking.mlflow_client(project)
    tags = client.get_model_version(tracking.MLFLOW_NAME, str(champion.number)).tags
    assert tags["md5:models/policy"] == hashes["models/policy"] and tags["git.commit"] == "not in git"
    assert tags["md5:reports/evaluate"] == hashes["reports/evaluate"] and len(tags["dvc.lock"]) == 64
    assert "+50.0 points" in tags["videossr.crowned"]
    lineage = tracking.load_artifact(project, champion, "lineage.json")
    assert lineage is not None and json.loads(lineage.read_text())["data"] == dict(hashes)
    assert "is the champion already" in promote.promote_if_better()
    assert tracking.registry_summary(project) == tracking.RegistrySummary(2, champion.number)


def test_a_model_whose_gain_may_be_chance_does_not_become_champion(project):
    before = tracking.champion(project)
    write_run(project, "third", 0.8)
    assert "is not significantly better" in promote.promote_if_better()
    assert tracking.champion(project) == before


def test_a_champion_whose_run_mlflow_removed_stays_champion_and_is_compared(evaluated, tmp_path):
    """`mlflow gc` removes deleted runs with their artifacts; the version keeps its model."""
    promote.promote_if_better()
    champion, uri = tracking.champion(evaluated), tracking.database_uri(evaluated)
    tracking.mlflow_client(evaluated).delete_run(champion.run_id)
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri]
    subprocess.run(command, check=True, capture_output=True)
    assert tracking.load_artifact(evaluated, champion, promote.REPLIES_ARTIFACT) is None
    assert "version 1 is the champion already" in promote.promote_if_better()


def test_a_champion_is_taken_back_and_not_promoted_again(evaluated):
    invoke = partial(CliRunner().invoke, app, catch_exceptions=False)
    write_run(evaluated, "first", 0.6)
    promote.promote_if_better()
    write_run(evaluated, "second", 1.0)
    assert "it is the champion now" in promote.promote_if_better()
    assert (
        "version 2 was withdrawn; version 1 is the champion again" in invoke(["rollback", "--reason", "drift"]).output
    )
    assert tracking.champion(evaluated).number == 1
    assert promote.promote_if_better() == "version 2 was withdrawn and stays registered only: drift"
    assert "version 1 was withdrawn; there is no champion now" in invoke(["rollback", "--reason", "drift"]).output
    assert tracking.champion(evaluated) is None
    with pytest.raises(PolicyError, match="no champion to take back"):
        invoke(["rollback", "--reason", "drift"])


def test_the_lineage_of_a_version_names_its_origin_and_the_commands_that_rebuild_it(evaluated):
    promote.promote_if_better()
    hashes = tracking.read_lineage(evaluated).data
    outputs = [
        CliRunner().invoke(app, ["lineage", name], catch_exceptions=False).output
        for name in ("models:/videossr@champion", "models:/videossr/1", "1")
    ]
    assert len(set(outputs)) == 1 and "git checkout" in outputs[0] and "dvc repro" in outputs[0]
    assert f"md5 {hashes['models/policy']}  models/policy" in outputs[0]
    assert "params    train:" in outputs[0] and "params      seed: 0" in outputs[0]
    with pytest.raises(PolicyError, match="no version '7'"):
        tracking.find_version(evaluated, "7")
    with pytest.raises(PolicyError, match="named models:/videossr@champion"):
        tracking.find_version(evaluated, "models:/other/1")


def test_a_version_and_the_run_that_trained_it_name_each_other(evaluated):
    """The stage train tags its run with the hash of the policy; the version is found from there and back."""
    fingerprint = folder_fingerprint(evaluated / "models" / "policy")
    pipeline = tracking.PipelineRun(evaluated, {}, evaluated / "work" / "last.json")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pipeline.open().items():
            patch.setenv(name, value)
        with tracking.stage_run(evaluated, "train", {}, label="tiny-random") as training:
            training.set_tag(tracking.POLICY_TAG, fingerprint)
    promote.promote_if_better()
    client = tracking.mlflow_client(evaluated)
    version = client.get_model_version(tracking.MLFLOW_NAME, "1")
    assert version.tags["training.run"] == training.run_id
    registering = client.get_run(version.run_id)
    assert registering.data.tags["mlflow.parentRunId"] == pipeline.run_id
    assert training.run_id in registering.data.tags["mlflow.note.content"]
    assert client.get_run(training.run_id).data.tags["registered.version"] == "1"
    output = CliRunner().invoke(app, ["lineage", "1"], catch_exceptions=False).output
    assert f"run       {training.run_id}  train tiny-random 20" in output
    assert f"run       {version.run_id}  register 20" in output


def test_every_version_carries_a_model_card(evaluated):
    edit(evaluated / "params.yaml", "licence: ''", "licence: 'CC BY 4.0 <b>'")
    commit(evaluated)
    promote.promote_if_better()
    client = tracking.mlflow_client(evaluated)
    version = client.get_model_version(tracking.MLFLOW_NAME, "1")
    card = tracking.load_artifact(evaluated, tracking.champion(evaluated), "model_card.md").read_text()
    assert version.description[:500] == card[:500] and len(version.description) <= 5000
    assert "CC BY 4.0 &#60;b&#62;" in card and "250 steps of GRPO from tiny-random" in card
    assert re.search(r"\| After training \| 75.0 \[\d+\.\d, \d+\.\d\] \|", card)
    for part in ("## Data", "## Recipe", "## Scores", "## Limits", "## How to load it", "load_champion"):
        assert part in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1, "every row of the table has as many cells"


def test_a_model_that_loses_on_a_benchmark_downstream_does_not_become_champion(evaluated):
    """Its gain on VIUBench is significant, and so is its loss on Video-MME against the policy before training."""
    write_evaluation(evaluated, 0.6)
    edit(evaluated / "params.yaml", "benchmarks: []", "benchmarks: [videomme]")
    make_benchmarks(evaluated / "data" / "made_benchmarks", 0, SyntheticParams(num_videos=6, size_pixels=32))
    items = load("videomme", evaluated / "data" / "made_benchmarks" / "videomme", counts=False)
    replies = {"before": [item.answer for item in items], "after": ["none"] * len(items)}
    write_downstream(evaluated, items, replies)
    commit(evaluated)
    outcome = promote.promote_if_better()
    assert "is significantly better" in outcome and "but it loses on Video-MME: -100.0 points" in outcome
    assert tracking.champion(evaluated) is None and len(tracking.versions(evaluated)) == 1

    edit(evaluated / "params.yaml", "no_loss_on: null", "no_loss_on: []")
    commit(evaluated)
    assert "it is the champion now" in promote.promote_if_better()

    # A later model is compared with the replies that the champion was registered with.
    write_policy(evaluated, "second")
    write_evaluation(evaluated, 1.0)
    write_downstream(evaluated, items, {"before": replies["before"], "after": replies["after"]})
    commit(evaluated)
    assert "it is the champion now" in promote.promote_if_better()


def write_downstream(project, items, replies):
    """What the stage downstream writes: replies of the policy before and after training."""
    folder = project / "reports" / "downstream"
    shutil.rmtree(folder)
    for name, texts in replies.items():
        policy = folder_fingerprint(project / "models" / "policy") if name == "after" else "other"
        header = {"benchmark": items.benchmark.key, "items": items.digest, "policy": policy}
        rows = [{"id": item.id, "reply": text, "times": []} for item, text in zip(items, texts, strict=True)]
        lines = [json.dumps(row) for row in ({"header": header}, *rows)]
        write_text(folder / name / f"{items.benchmark.key}.jsonl", "\n".join(lines) + "\n")


def test_two_benchmark_videos_promote_nothing_and_show_no_interval(evaluated):
    write_evaluation(evaluated, 1.0, bench_samples(num_videos=2))
    commit(evaluated)
    outcome = promote.promote_if_better()
    assert "version 1 is registered, not promoted: +100.0 points" in outcome and "to +" not in outcome
    assert "2 benchmark videos give no 95 % interval, which needs 6" in outcome
    assert tracking.champion(evaluated) is None


def test_a_policy_that_was_trained_again_is_not_registered_with_the_replies_of_the_one_before(evaluated):
    """`dvc repro train` alone: the new policy and its hash are in dvc.lock, the evaluation is of the old one."""
    write_policy(evaluated, "another")
    commit_of_train_alone(evaluated)
    refused("the stage (downstream|evaluate) has not run on the present models/policy", evaluated)


def commit_of_train_alone(project):
    with Repo(str(project)) as repo:
        repo.commit("train", force=True)


def test_a_policy_that_dvc_does_not_know_is_not_registered(evaluated):
    write_policy(evaluated, "another")
    refused("models/policy is not what the stage train wrote", evaluated)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("reports/evaluate/after.jsonl", '"reply": "?"', '"reply": "21"'),
        ("reports/evaluate/constant.jsonl", '"score": 1.0', '"score": 0.0'),
        ("reports/viubench.json", "75.0", "85.0"),
        ("reports/index.html", "0.75", "0.85"),
        ("models/policy/notes.txt", "first", "other"),
    ],
)
def test_an_output_that_was_edited_by_hand_is_not_registered(evaluated, path, old, new):
    edit(evaluated / path, old, new)
    refused("is not what the stage (train|evaluate|report) wrote", evaluated)


@pytest.mark.parametrize(
    ("path", "old", "new", "fault"),
    [
        ("reports/evaluate/after.jsonl", '"reply": "?"', '"reply": "21"', "other scores than its replies have"),
        ("reports/evaluate/constant.jsonl", '"samples": "', '"samples": "0', "replies to other samples"),
        ("reports/viubench.json", "75.0", "85.0", "other scores than the replies"),
        ("reports/viubench.json", '"counting":', '"as it was called earlier":', "other scores than the replies"),
        ("models/policy/notes.txt", "first", "other", "replies of another policy"),
    ],
)
def test_a_dvc_commit_after_an_edit_does_not_make_an_edited_output_valid(evaluated, path, old, new, fault):
    edit(evaluated / path, old, new)
    commit(evaluated)
    refused(fault, evaluated)


def test_parameters_that_were_changed_after_the_run_are_not_registered_with_it(evaluated):
    edit(evaluated / "params.yaml", "steps: 250", "steps: 251")
    refused("params.yaml has another 'train' than the last run of the stage train", evaluated)


def test_replies_to_an_earlier_benchmark_are_not_registered(evaluated):
    write_evaluation(evaluated, 0.75, bench_samples(set_name="b"))
    with Repo(str(evaluated)) as repo:
        repo.commit("pretext", force=True)
    refused("has not run on the present data/samples", evaluated)


def test_a_missing_output_is_named(evaluated):
    (evaluated / "reports/viubench.json").unlink()
    refused("reports/viubench.json is missing", evaluated)


def refused(sentence, project):
    """`promote` raises this sentence with the remedy, and registers no version."""
    with pytest.raises(PolicyError, match=f"{sentence}.*run the pipeline"):
        promote.promote_if_better()
    assert not (project / "mlruns" / "mlflow.db").exists()


def test_the_champion_loads_in_a_new_process_and_answers_questions_about_videos(project, tmp_path):
    """The process has the package alone, as on a server: the project's models/ folder is deleted first."""
    videos = [write_video(tmp_path / f"clip {name}.mp4") for name in ("a", "b")]
    questions = pd.DataFrame({"question": ["When?", "Clip 1: <video> Clip 2: <video>"], "videos": [[], []]})
    questions["videos"] = [[str(videos[0])], [str(video) for video in videos]]
    shutil.rmtree("models")
    script = (
        "import sys, pandas as pd; from pathlib import Path; from videossr.tracking import load_champion;"
        "print(load_champion(Path(sys.argv[1])).predict(pd.read_json(sys.argv[2]))['answer'].to_json())"
    )
    questions.to_json(tmp_path / "questions.json")
    command = [sys.executable, "-c", script, str(project), str(tmp_path / "questions.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout.splitlines()[-1])
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers.values())
