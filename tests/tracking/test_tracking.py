"""Runs, lineage and the registry, on a real MLflow database in a folder whose name needs quoting."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flows import promote, runtime
from tests.support import ROOT, tiny_policy
from tests.support.videos import write_video
from videossr import tracking
from videossr.errors import PolicyError
from videossr.evaluation.runner import write_scored_replies
from videossr.evaluation.viubench import COLUMNS
from videossr.records import ScoredReply

NUM_VIDEOS = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a 'quoted\" project"
    folder.mkdir()
    return folder


def recorded(project, run_id):
    store = tracking.client(project)
    return store.get_run(run_id), store


def test_a_stage_leaves_its_parameters_curves_and_files(project, tmp_path):
    report = tmp_path / "train.json"
    report.write_text("{}")
    with tracking.stage_run(project, "train", {"train": {"grpo": {"steps": 2}, "span": [0, 1]}}) as run:
        run.metrics({"reward": 0.25, "kl": 0.5}, 1)
        run.metrics({"reward": 0.75}, 2)
        run.artifacts([report])
    seen, store = recorded(project, run.run_id)
    assert seen.info.status == "FINISHED" and seen.data.tags["dvc.stage"] == "train"
    assert seen.data.params == {"train.grpo.steps": "2", "train.span": "[0, 1]"}
    curve = store.get_metric_history(run.run_id, "reward")
    assert [(point.step, point.value) for point in curve] == [(1, 0.25), (2, 0.75)]
    assert [item.path for item in store.list_artifacts(run.run_id)] == ["train.json"]


def test_a_stage_that_raises_leaves_a_failed_run_and_the_error(project):
    with pytest.raises(ZeroDivisionError), tracking.stage_run(project, "frames", {}) as run:
        raise ZeroDivisionError
    assert recorded(project, run.run_id)[0].info.status == "FAILED"


def test_a_killed_stage_goes_on_in_the_same_run(project, tmp_path):
    note = tmp_path / "work" / "run"
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(project, "train", {"steps": 4}, resume=note) as first:
        first.metrics({"reward": 0.1}, 1)
        raise KeyboardInterrupt
    assert recorded(project, first.run_id)[0].info.status == "KILLED"
    with tracking.stage_run(project, "train", {"steps": 4}, resume=note) as second:
        second.metrics({"reward": 0.2}, 2)
    assert second.run_id == first.run_id
    run, store = recorded(project, first.run_id)
    assert run.info.status == "FINISHED"
    assert [point.step for point in store.get_metric_history(first.run_id, "reward")] == [1, 2]
    with tracking.stage_run(project, "train", {"steps": 4}, resume=note) as third:
        third.metrics({"reward": 0.3}, 1)
    assert third.run_id != first.run_id, "a finished run is not written to again"


def test_other_parameters_are_another_run_also_after_a_kill(project, tmp_path):
    note = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(project, "train", {"steps": 4}, resume=note) as first:
        raise KeyboardInterrupt
    with tracking.stage_run(project, "train", {"steps": 5}, resume=note) as second:
        second.metrics({"reward": 0.2}, 1)
    assert recorded(project, second.run_id)[0].data.params == {"steps": "5"}
    assert first.run_id != second.run_id


def test_trouble_with_mlflow_never_stops_the_work(tmp_path, caplog):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("this is no database")
    done = []
    with tracking.stage_run(tmp_path, "train", {"steps": 4}) as run:
        run.metrics({"reward": 0.5}, 1)
        done.append("trained")
    assert done and "MLflow cannot record this run" in caplog.text


def test_metrics_that_mlflow_did_not_take_are_sent_when_it_answers_again(project):
    database = project / "mlruns" / "mlflow.db"
    with tracking.stage_run(project, "train", {"steps": 4}) as run:
        run.metrics({"reward": 0.1}, 1)
        database.rename(project / "elsewhere.db")
        database.write_text("this is no database")
        run.metrics({"reward": 0.2}, 2)
        run.metrics({"reward": 0.3}, 3)
    with tracking.stage_run(project, "evaluate", {}) as lost:
        lost.metrics({"overall": 30.0})
    database.unlink()
    (project / "elsewhere.db").rename(database)
    with tracking.stage_run(project, "report", {}):
        pass
    found, store = recorded(project, run.run_id)
    assert [point.step for point in store.get_metric_history(run.run_id, "reward")] == [1, 2, 3]
    assert found.info.status == "FINISHED"
    names = {run.info.run_name: run.data.metrics for run in store.search_runs([found.info.experiment_id])}
    assert names["evaluate"] == {"overall": 30.0}
    assert not list((project / "mlruns" / "unsent").iterdir())


@contextmanager
def outage(project):
    """A project whose MLflow database cannot be read for a while."""
    tracking.client(project)
    database = project / "mlruns" / "mlflow.db"
    database.rename(project / "elsewhere.db")
    database.write_text("this is no database")
    yield
    database.unlink()
    (project / "elsewhere.db").rename(database)


def kill(project, note, steps, away_before, abruptly=True):
    """A stage that cannot reach MLflow before one of its steps (0: from its start), and is killed after the last."""
    with ExitStack() as outside, ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))
        if away_before == 0:
            outside.enter_context(outage(project))
        run = stack.enter_context(tracking.stage_run(project, "train", {"steps": 9, "span": (0, 1)}, resume=note))
        for step in steps:
            if step == away_before:
                outside.enter_context(outage(project))
            run.metrics({"reward": 0.1}, step)
        raise KeyboardInterrupt
    if abruptly:  # kill -9 leaves no word of an end
        (kept,) = (project / "mlruns" / "unsent").iterdir()
        *lines, end = kept.read_text().splitlines(keepends=True)
        assert "KILLED" in end
        kept.write_text("".join(lines))


@pytest.mark.parametrize(("away_before", "abruptly"), [(0, True), (2, True), (2, False)])
def test_a_stage_that_was_killed_while_mlflow_was_away_goes_on_in_the_same_run(tmp_path, away_before, abruptly):
    note = tmp_path / "work" / "run"
    kill(tmp_path, note, [1, 2, 3], away_before, abruptly)
    with tracking.stage_run(tmp_path, "train", {"steps": 9, "span": (0, 1)}, resume=note) as run:
        going_on, store = recorded(tmp_path, run.run_id)
        assert going_on.info.status == "RUNNING"
        run.metrics({"reward": 0.1}, 4)
    assert [point.step for point in store.get_metric_history(run.run_id, "reward")] == [1, 2, 3, 4]
    (only,) = store.search_runs([going_on.info.experiment_id])
    assert only.info.status == "FINISHED" and only.data.params["steps"] == "9"
    assert not list((tmp_path / "mlruns" / "unsent").iterdir())


def test_a_stage_that_goes_on_while_mlflow_is_away_is_sent_to_its_run(tmp_path):
    note, params = tmp_path / "work" / "run", {"steps": 9, "span": (0, 1)}
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(tmp_path, "train", params, resume=note) as first:
        first.metrics({"reward": 0.1}, 1)
        raise KeyboardInterrupt
    with outage(tmp_path), tracking.stage_run(tmp_path, "train", params, resume=note) as second:
        second.metrics({"reward": 0.1}, 2)
    with tracking.stage_run(tmp_path, "train", params, resume=note) as third:
        pass
    run, store = recorded(tmp_path, first.run_id)
    assert [point.step for point in store.get_metric_history(first.run_id, "reward")] == [1, 2]
    assert run.info.status == "FINISHED" and third.run_id != first.run_id, "it had finished, though MLflow did not know"


def test_another_stage_leaves_a_run_that_was_cut_off_to_its_own(tmp_path):
    note = tmp_path / "work" / "run"
    kill(tmp_path, note, [1, 2, 3], 2)
    with tracking.stage_run(tmp_path, "frames", {}):
        pass
    with tracking.stage_run(tmp_path, "train", {"steps": 9, "span": (0, 1)}, resume=note) as run:
        run.metrics({"reward": 0.1}, 4)
    store = tracking.client(tmp_path)
    assert [point.step for point in store.get_metric_history(run.run_id, "reward")] == [1, 2, 3, 4]


def test_a_note_or_a_letter_of_a_database_that_is_gone_does_not_stop_the_recording(tmp_path):
    note = tmp_path / "work" / "run"
    kill(tmp_path, note, [1, 2], 2)
    known = json.loads(note.read_text())["run"]
    for path in (note, *(tmp_path / "mlruns" / "unsent").iterdir()):
        path.write_text(path.read_text().replace(known, "0" * 32))
    with tracking.stage_run(tmp_path, "train", {"steps": 9, "span": (0, 1)}, resume=note) as run:
        run.metrics({"reward": 0.1}, 3)
    store = tracking.client(tmp_path)
    assert [point.step for point in store.get_metric_history(run.run_id, "reward")] == [2, 3]


def test_without_a_trained_policy_there_is_no_lineage(tmp_path):
    with pytest.raises(PolicyError, match="run the pipeline first"):
        tracking.read_lineage(tmp_path)


def test_no_champion_is_said_before_the_first_promotion(project):
    with pytest.raises(PolicyError, match="no champion yet"):
        tracking.load_champion(project)


def scored(share: float) -> list[ScoredReply]:
    """Answers to every column for twelve videos, right on a share of the videos and wrong on the others."""
    items = []
    for video in range(NUM_VIDEOS):
        for column, (task, variant) in COLUMNS.items():
            score = float(video < share * NUM_VIDEOS)
            items.append(ScoredReply(f"{column}-{video}", task, variant, f"video{video}", "a", "b", True, score))
    return items


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project in which a policy has just been trained and evaluated, as the stages leave it."""
    folder = tmp_path_factory.mktemp("promoted") / "a 'quoted\" project"
    folder.mkdir()
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pretext"]["grounding"]["num_frames"] = 8
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "models").mkdir()
    tiny_policy.write_tiny(folder / "models" / "policy")
    (folder / "reports" / "evaluate").mkdir(parents=True)
    (folder / "reports" / "index.html").write_text("<p>page</p>")
    return folder


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("DVC_ROOT", str(trained))
    monkeypatch.delenv(runtime.HANDOFF, raising=False)
    return trained


def leave(folder: Path, policy: str, share: float, questions: str = "q") -> None:
    """Write what training and evaluation of another policy would leave behind."""
    outs = [{"path": "models/policy", "md5": policy}, {"path": "data/samples/train.parquet", "md5": "5a3"}]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    for name, right in (("constant", 0.25), ("after", share)):
        write_scored_replies(
            folder / f"reports/evaluate/{name}.jsonl", scored(right), {"samples": questions, "policy": name}
        )
    row = dict.fromkeys([*COLUMNS, "overall"], 100 * share)
    (folder / "reports/viubench.json").write_text(json.dumps({"columns": list(COLUMNS), "rows": {"after": row}}))


def test_a_first_model_that_beats_no_blind_answer_is_registered_and_not_crowned(here):
    leave(here, "aaa", 0.25)
    assert "version 1 is not better for certain" in promote.decide()
    assert tracking.champion(here) is None
    assert [version.policy for version in tracking.versions(here)] == ["aaa"]


def test_the_same_policy_is_registered_once(here):
    leave(here, "aaa", 0.25)
    promote.decide()
    assert len(tracking.versions(here)) == 1


def test_a_better_model_becomes_champion_with_its_lineage_and_the_reason(here):
    leave(here, "bbb", 0.75)
    assert "it is the champion now" in promote.decide()
    champion = tracking.champion(here)
    assert champion is not None and champion.policy == "bbb"
    tags = tracking.client(here).get_model_version(tracking.NAME, str(champion.number)).tags
    assert tags["md5:models/policy"] == "bbb" and len(tags["dvc.lock"]) == 64 and tags["git.commit"] == "not in git"
    assert "+50.0 points" in tags["videossr.crowned"]
    lineage = tracking.load_artifact(here, champion, "lineage.json")
    assert lineage is not None and json.loads(lineage.read_text())["data"]["data/samples/train.parquet"] == "5a3"
    assert "is the champion already" in promote.decide()


def test_a_model_that_is_better_by_chance_only_does_not_become_champion(here):
    leave(here, "ccc", 0.8)
    assert "is not better for certain" in promote.decide()
    champion = tracking.champion(here)
    assert champion is not None and champion.policy == "bbb"


def test_the_champion_loads_again_and_answers_a_question_about_a_video(here, tmp_path):
    """Loaded in a process that has nothing but the package, as a server would."""
    videos = [write_video(tmp_path / f"clip {name}.mp4") for name in ("a", "b")]
    asked = pd.DataFrame({"question": ["When?", "Clip 1: <video> Clip 2: <video>"], "videos": [[], []]})
    asked["videos"] = [[str(videos[0])], [str(video) for video in videos]]
    shutil.rmtree("models")
    script = (
        "import sys, pandas as pd; from pathlib import Path; from videossr.tracking import load_champion;"
        "print(load_champion(Path(sys.argv[1])).predict(pd.read_json(sys.argv[2]))['answer'].to_json())"
    )
    asked.to_json(tmp_path / "asked.json")
    command = [sys.executable, "-c", script, str(here), str(tmp_path / "asked.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers.values())
