"""MLflow runs of stages: their content, resuming after a kill, and outages of MLflow."""

import json
from contextlib import ExitStack, contextmanager

import pytest
from mlflow import MlflowClient

from videossr import tracking

PARAMS = {"steps": 9, "span": (0, 1)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a real MLflow database, in a folder whose name needs quoting."""
    folder = tmp_path_factory.mktemp("runs") / "a 'quoted\" project"
    folder.mkdir()
    return folder


def read_run(project, run_id):
    return tracking.mlflow_client(project).get_run(run_id)


@pytest.fixture
def moved_to(tmp_path, monkeypatch):
    """A project whose path has a question mark, as the working directory."""
    folder = tmp_path / "which? #1"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_project_with_a_question_mark_in_its_path_keeps_its_runs_inside_it(moved_to, tmp_path):
    report = moved_to / "train.json"
    report.write_text("{}")
    with tracking.stage_run(moved_to, "train", {}) as run:
        run.log_metrics({"reward": 0.5}, 1)
        run.log_artifacts([report])
    assert reward_steps(moved_to, run.run_id) == [1]
    assert [path.name for path in tmp_path.iterdir()] == [moved_to.name]
    assert {path.name for path in moved_to.iterdir()} == {"mlruns", "train.json"}
    assert len(list(moved_to.rglob("train.json"))) == 2


def test_runs_go_to_the_address_in_mlflow_tracking_uri(tmp_path, monkeypatch):
    elsewhere = tmp_path / "team" / "mlflow.db"
    elsewhere.parent.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    with tracking.stage_run(tmp_path, "train", {}) as run:
        run.log_metrics({"reward": 0.5}, 1)
    client = MlflowClient(f"sqlite:///{elsewhere}")
    assert client.get_run(run.run_id).data.metrics == {"reward": 0.5}
    assert not (tmp_path / "mlruns").exists()
    assert tracking.registry_summary(tmp_path) == tracking.RegistrySummary(0, None)


def test_a_warning_is_a_tag_of_the_run(project):
    with tracking.stage_run(project, "train", {}) as run:
        run.set_warning("flat_groups", "steps 1 to 10 taught nothing")
    assert read_run(project, run.run_id).data.tags["warning.flat_groups"] == "steps 1 to 10 taught nothing"


def reward_steps(project, run_id):
    """The steps at which a run has recorded the metric `reward`."""
    history = tracking.mlflow_client(project).get_metric_history(run_id, "reward")
    return [point.step for point in history]


def outbox_files(project):
    return list((project / "mlruns" / "unsent").iterdir())


@contextmanager
def outage(project):
    """While this context is open, the project's MLflow database cannot be read."""
    tracking.mlflow_client(project)  # creates the database
    database = project / "mlruns" / "mlflow.db"
    database.rename(project / "elsewhere.db")
    database.write_text("this is no database")
    yield
    database.unlink()
    (project / "elsewhere.db").rename(database)


def run_and_kill(project, resume, steps, outage_before, has_status=False):
    """Run a train stage that logs `steps`, loses MLflow before step `outage_before` (0: at its start), and is killed.

    Without `has_status`, the kill leaves no status in the outbox, as kill -9 does.
    """
    with ExitStack() as outages, ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))
        if outage_before == 0:
            outages.enter_context(outage(project))
        run = stack.enter_context(tracking.stage_run(project, "train", PARAMS, resume=resume))
        for step in steps:
            if step == outage_before:
                outages.enter_context(outage(project))
            run.log_metrics({"reward": 0.1}, step)
        raise KeyboardInterrupt
    if not has_status:
        (pending,) = outbox_files(project)
        *lines, status = pending.read_text().splitlines(keepends=True)
        assert "KILLED" in status
        pending.write_text("".join(lines))


def test_a_stage_records_its_parameters_metrics_and_files(project, tmp_path):
    report = tmp_path / "train.json"
    report.write_text("{}")
    with tracking.stage_run(project, "train", {"train": {"grpo": {"steps": 2}, "span": [0, 1]}}) as run:
        run.log_metrics({"reward": 0.25, "kl": 0.5}, 1)
        run.log_metrics({"reward": 0.75}, 2)
        run.log_artifacts([report])
    recorded, client = read_run(project, run.run_id), tracking.mlflow_client(project)
    assert recorded.info.status == "FINISHED" and recorded.data.tags["dvc.stage"] == "train"
    assert recorded.data.params == {"train.grpo.steps": "2", "train.span": "[0, 1]"}
    curve = client.get_metric_history(run.run_id, "reward")
    assert [(point.step, point.value) for point in curve] == [(1, 0.25), (2, 0.75)]
    assert [item.path for item in client.list_artifacts(run.run_id)] == ["train.json"]


def test_a_stage_that_raises_has_a_failed_run_and_its_error_is_not_hidden(project):
    with pytest.raises(ZeroDivisionError), tracking.stage_run(project, "frames", {}) as run:
        raise ZeroDivisionError
    assert read_run(project, run.run_id).info.status == "FAILED"


def test_a_killed_stage_continues_the_same_run(project, tmp_path):
    resume = tmp_path / "work" / "run"
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(project, "train", {"steps": 4}, resume=resume) as first:
        first.log_metrics({"reward": 0.1}, 1)
        raise KeyboardInterrupt
    assert read_run(project, first.run_id).info.status == "KILLED"
    with tracking.stage_run(project, "train", {"steps": 4}, resume=resume) as second:
        second.log_metrics({"reward": 0.2}, 2)
    assert second.run_id == first.run_id
    assert read_run(project, first.run_id).info.status == "FINISHED"
    assert reward_steps(project, first.run_id) == [1, 2]
    with tracking.stage_run(project, "train", {"steps": 4}, resume=resume) as third:
        third.log_metrics({"reward": 0.3}, 1)
    assert third.run_id != first.run_id, "a finished run is not continued"


def test_a_killed_stage_with_other_parameters_starts_another_run(project, tmp_path):
    resume = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(project, "train", {"steps": 4}, resume=resume) as first:
        raise KeyboardInterrupt
    with tracking.stage_run(project, "train", {"steps": 5}, resume=resume) as second:
        second.log_metrics({"reward": 0.2}, 1)
    assert read_run(project, second.run_id).data.params == {"steps": "5"}
    assert first.run_id != second.run_id


def test_an_mlflow_error_never_stops_a_stage(tmp_path, caplog):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("this is no database")
    has_trained = False
    with tracking.stage_run(tmp_path, "train", {"steps": 4}) as run:
        run.log_metrics({"reward": 0.5}, 1)
        has_trained = True
    assert has_trained and "MLflow cannot record this run" in caplog.text


def test_metrics_of_an_outage_are_sent_by_the_next_run(project):
    with ExitStack() as outages:
        with tracking.stage_run(project, "train", {"steps": 4}) as run:
            run.log_metrics({"reward": 0.1}, 1)
            outages.enter_context(outage(project))
            run.log_metrics({"reward": 0.2}, 2)
            run.log_metrics({"reward": 0.3}, 3)
        with tracking.stage_run(project, "evaluate", {}) as unrecorded:
            unrecorded.log_metrics({"overall": 30.0})
    with tracking.stage_run(project, "report", {}):
        pass
    recorded = read_run(project, run.run_id)
    assert reward_steps(project, run.run_id) == [1, 2, 3]
    assert recorded.info.status == "FINISHED"
    runs = tracking.mlflow_client(project).search_runs([recorded.info.experiment_id])
    metrics = {run.info.run_name: run.data.metrics for run in runs}
    assert metrics["evaluate"] == {"overall": 30.0}
    assert not outbox_files(project)


@pytest.mark.parametrize(("outage_before", "has_status"), [(0, False), (2, False), (2, True)])
def test_a_stage_killed_during_an_outage_continues_the_same_run(tmp_path, outage_before, has_status):
    resume = tmp_path / "work" / "run"
    run_and_kill(tmp_path, resume, [1, 2, 3], outage_before, has_status)
    with tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as run:
        assert read_run(tmp_path, run.run_id).info.status == "RUNNING"
        run.log_metrics({"reward": 0.1}, 4)
    assert reward_steps(tmp_path, run.run_id) == [1, 2, 3, 4]
    experiment_id = read_run(tmp_path, run.run_id).info.experiment_id
    (only_run,) = tracking.mlflow_client(tmp_path).search_runs([experiment_id])
    assert only_run.info.status == "FINISHED" and only_run.data.params["steps"] == "9"
    assert not outbox_files(tmp_path)


def test_metrics_of_a_stage_that_continues_during_an_outage_are_sent_to_its_run(tmp_path):
    resume = tmp_path / "work" / "run"
    with pytest.raises(KeyboardInterrupt), tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as first:
        first.log_metrics({"reward": 0.1}, 1)
        raise KeyboardInterrupt
    with outage(tmp_path), tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as second:
        second.log_metrics({"reward": 0.1}, 2)
    with tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as third:
        pass
    assert reward_steps(tmp_path, first.run_id) == [1, 2]
    assert read_run(tmp_path, first.run_id).info.status == "FINISHED"
    assert third.run_id != first.run_id, "the run had finished, although MLflow had not recorded it"


def test_a_run_of_another_stage_does_not_close_a_killed_run(tmp_path):
    resume = tmp_path / "work" / "run"
    run_and_kill(tmp_path, resume, [1, 2, 3], outage_before=2)
    with tracking.stage_run(tmp_path, "frames", {}):
        pass
    with tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as run:
        run.log_metrics({"reward": 0.1}, 4)
    assert reward_steps(tmp_path, run.run_id) == [1, 2, 3, 4]


def test_a_run_id_of_a_lost_database_does_not_stop_the_recording(tmp_path):
    resume = tmp_path / "work" / "run"
    run_and_kill(tmp_path, resume, [1, 2], outage_before=2)
    stored_id = json.loads(resume.read_text())["run"]
    for path in (resume, *outbox_files(tmp_path)):
        path.write_text(path.read_text().replace(stored_id, "0" * 32))
    with tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as run:
        run.log_metrics({"reward": 0.1}, 3)
    assert reward_steps(tmp_path, run.run_id) == [2, 3]
