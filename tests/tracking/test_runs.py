"""MLflow runs of stages: their content, resuming after a kill, and outages of MLflow."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier

import psutil
import pytest
from mlflow import MlflowClient

from videossr import tracking
from videossr.tracking.runs import PARENT_VARIABLE
from videossr.tracking.uncommitted import git_commit, uncommitted_changes

PARAMS = {"steps": 9, "span": (0, 1)}


@pytest.fixture(autouse=True)
def no_system_metrics(monkeypatch):
    """Their thread would hold a connection to the database that an outage of these tests replaces."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")


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
    metrics = {run.data.tags["dvc.stage"]: run.data.metrics for run in runs}
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


def children(project, run_id):
    """Stage -> the run of it below a run."""
    client = tracking.mlflow_client(project)
    experiment = client.get_run(run_id).info.experiment_id
    below = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return {run.data.tags["dvc.stage"]: run for run in below}


def test_the_runs_of_stages_are_below_the_run_of_the_pipeline_and_names_tell_them_apart(tmp_path, monkeypatch):
    pipeline = tracking.PipelineRun(tmp_path, {"steps": 4}, tmp_path / "work" / "last.json")
    assert pipeline.run_id == "" and not (tmp_path / "mlruns").exists(), "nothing has run yet"
    for name, value in pipeline.open().items():
        monkeypatch.setenv(name, value)
    assert pipeline.open() == {PARENT_VARIABLE: pipeline.run_id}
    with tracking.stage_run(tmp_path, "train", {}, label="tiny-random"), tracking.stage_run(tmp_path, "evaluate", {}):
        pass
    pipeline.run.end("FINISHED")
    below = children(tmp_path, pipeline.run_id)
    assert set(below) == {"train", "evaluate"}
    assert below["train"].info.run_name.startswith("train tiny-random 20")
    assert read_run(tmp_path, pipeline.run_id).info.run_name.startswith("pipeline 20")


def test_a_killed_stage_continues_its_run_below_the_pipeline_that_continues_it(tmp_path, monkeypatch):
    last, resume = tmp_path / "work" / "last.json", tmp_path / "work" / "run"
    killed = tracking.PipelineRun(tmp_path, {}, last)
    monkeypatch.setenv(PARENT_VARIABLE, killed.open()[PARENT_VARIABLE])
    with tracking.stage_run(tmp_path, "frames", {}) as frames:
        tracking.mlflow_client(tmp_path).update_run(frames.run_id, status="RUNNING")
        with pytest.raises(KeyboardInterrupt), tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as first:
            raise KeyboardInterrupt
    tracking.mlflow_client(tmp_path).update_run(frames.run_id, status="RUNNING")  # as kill -9 leaves it
    ended = subprocess.Popen(["true"])
    ended.wait()
    last.write_text(json.dumps({"run": killed.run_id, "pid": ended.pid}))

    later = tracking.PipelineRun(tmp_path, {}, last)
    monkeypatch.setenv(PARENT_VARIABLE, later.open()[PARENT_VARIABLE])
    assert [read_run(tmp_path, run).info.status for run in (killed.run_id, frames.run_id)] == ["KILLED", "KILLED"]
    with tracking.stage_run(tmp_path, "train", PARAMS, resume=resume) as second:
        pass
    assert second.run_id == first.run_id
    assert set(children(tmp_path, later.run_id)) == {"train"}


def test_a_pipeline_that_still_runs_is_not_closed_by_another(tmp_path):
    last = tmp_path / "last.json"
    first = tracking.PipelineRun(tmp_path, {}, last)
    first.open()
    assert psutil.pid_exists(json.loads(last.read_text())["pid"])
    tracking.PipelineRun(tmp_path, {}, last).open()
    assert read_run(tmp_path, first.run_id).info.status == "RUNNING"


def test_the_database_can_be_made_before_the_first_run(tmp_path):
    tracking.prepare_tracking(tmp_path)
    assert (tmp_path / "mlruns" / "mlflow.db").exists()


def test_an_mlflow_error_never_stops_the_pipeline(tmp_path):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("this is no database")
    tracking.prepare_tracking(tmp_path)
    assert tracking.PipelineRun(tmp_path, {}, tmp_path / "last.json").open() == {}


def test_stages_that_record_the_same_data_set_at_once_both_have_it(project):
    with tracking.stage_run(project, "evaluate", {}) as one, tracking.stage_run(project, "downstream", {}) as other:
        for i in range(10):
            meet, digest = Barrier(2), f"{i:032}"

            def record(run, meet=meet, digest=digest):
                meet.wait()
                run.log_dataset("frames", digest, "data/frames", context="evaluation")

            with ThreadPoolExecutor() as pool:
                list(pool.map(record, [one, other]))
    for run in (one, other):
        assert run.is_recorded and len(read_run(project, run.run_id).inputs.dataset_inputs) == 10


def test_data_sets_tables_and_texts_are_recorded(project):
    with tracking.stage_run(project, "train", {}) as run:
        run.log_dataset("samples", "0" * 32, "data/samples/train.parquet", context="training", num_rows=7)
        run.log_table("samples.json", [{"question": "When?", "answer": "1.0-2.0"}, {"question": "<b>", "answer": ""}])
        run.log_text("note.txt", "words")
    (recorded,) = read_run(project, run.run_id).inputs.dataset_inputs
    assert recorded.dataset.name == "samples" and recorded.dataset.digest == "0" * 32
    assert json.loads(recorded.dataset.profile) == {"num_rows": 7}
    assert [(tag.key, tag.value) for tag in recorded.tags] == [("mlflow.data.context", "training")]
    client = tracking.mlflow_client(project)
    assert {item.path for item in client.list_artifacts(run.run_id)} == {"samples.json", "note.txt"}
    table = json.loads(Path(client.download_artifacts(run.run_id, "samples.json")).read_text())
    assert table["columns"] == ["question", "answer"] and table["data"][1] == ["<b>", ""]
    assert "samples.json" in read_run(project, run.run_id).data.tags["mlflow.loggedArtifacts"]


def test_the_load_of_the_machine_is_recorded_by_mlflow_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with tracking.stage_run(tmp_path, "train", {}) as run:
        deadline = time.monotonic() + 30
        while not any(name.startswith("system/") for name in read_run(tmp_path, run.run_id).data.metrics):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    recorded = read_run(tmp_path, run.run_id)
    assert "system/cpu_utilization_percentage" in recorded.data.metrics and recorded.info.status == "FINISHED"


SECRETS = """aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY
token: hf_abcdefghijklmnopqrstuvwxyz0123456789
source: s3://name:hidden-word@host/videos
password="hunter2hunter2"
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEA
-----END RSA PRIVATE KEY-----
max_completion_tokens: 16
"""


def test_a_change_that_is_not_committed_is_stored_with_the_run_without_credentials(tmp_path):
    git(tmp_path, "init", "-q")
    for name in ("code.py", "dvc.lock"):
        (tmp_path / name).write_text("one\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    (tmp_path / "dvc.lock").write_text("what a run wrote\n")
    commit = git_commit(tmp_path)
    assert len(commit) == 40 and uncommitted_changes(tmp_path) == ""

    (tmp_path / "code.py").write_text("two\n" + SECRETS)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "new.py").write_text("")
    with tracking.stage_run(tmp_path, "train", {}) as run:
        pass
    assert read_run(tmp_path, run.run_id).data.tags["git.commit"] == f"{commit}-dirty"
    stored = tracking.mlflow_client(tmp_path).download_artifacts(run.run_id, "uncommitted.diff", str(tmp_path))
    patch = Path(stored).read_text()
    assert "-one" in patch and "+two" in patch and "# not in git: src/new.py" in patch
    assert "what a run wrote" not in patch and "max_completion_tokens: 16" in patch
    for secret in ("wJalr", "hf_abc", "hidden-word", "hunter2", "MIIEow"):
        assert secret not in patch


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def test_a_stage_stores_what_it_took_with_the_processes_that_it_started(tmp_path):
    busy = "import time\nwhile time.process_time() < 1: pass"
    program = (
        "import subprocess, sys, videossr.tracking as t, pathlib; "
        f"subprocess.run([sys.executable, '-c', {busy!r}]); t.write_stage_cost(pathlib.Path(), 'train')"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    (cost,) = tracking.read_stage_costs(tmp_path)
    # The system tells when a process began by seconds since the machine's start, whose time it knows to a second.
    took = time.monotonic() - started
    assert cost.stage == "train" and cost.cpu_seconds >= 1 and abs(cost.seconds - took) < 1.1 + 0.2 * took
