"""The graph, the stages as processes, and the messages that a user sees after an error."""

import ast
import asyncio
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from flows import preflight, runtime, server, stages
from tests.support import ROOT
from videossr import tracking
from videossr.ingest.manifest import write_manifest
from videossr.records import RejectedFile, Video
from videossr.storage.atomic import copy_file
from videossr.storage.quarantine import read_quarantine, write_quarantine

SOURCE = ROOT / "src"
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

TOY = """
import logging, sys, time
from pathlib import Path
from flows.runtime import run_stage
from videossr.errors import SourceError

def body():
    logging.getLogger("videossr").info("working on %s", sys.argv[1])
    word = Path("word.txt").read_text().strip()
    if word == "mistake":
        raise SourceError("the word must be kind, got 'mistake': write another")
    if word == "sleep":
        Path("sleeping.pid").write_text(str(__import__("os").getpid()))
        time.sleep(60)
    if word == "crash" and not Path("crashed").exists():
        Path("crashed").touch()
        raise ZeroDivisionError("once")
    if "VIDEOSSR_MLFLOW_PARENT" in __import__("os").environ:
        from videossr.tracking import stage_run
        with stage_run(Path.cwd(), sys.argv[1], {}):
            pass
    Path(f"{sys.argv[1]}.out").write_text(word)

run_stage(body, sys.argv[1])
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A project of two stages, `first` -> `second`, in a folder whose name needs quoting."""
    folder = tmp_path / "a 'toy\" project?"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    (folder / "word.txt").write_text("kind")
    graph = {
        "first": {"cmd": "python toy.py first", "deps": ["word.txt"], "outs": ["first.out"]},
        "second": {"cmd": "python toy.py second", "deps": ["first.out"], "outs": ["second.out"]},
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return folder


def environment(**more):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Importing `flows` has set PREFECT_HOME to this project's folder; the toy project needs its own.
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    modules = os.pathsep.join([str(SOURCE), str(ROOT)])
    return {**inherited, "PATH": path, "PYTHONPATH": modules, "PYTHONUNBUFFERED": "1", **more}


def run_toy(stage, **more):
    lines: list[str] = []
    result = asyncio.run(stages.run_dvc_repro(stage, False, environment(**more), lines.append))
    return result, lines


def test_dvc_reads_the_nine_stages_after_those_that_they_need():
    graph = stages.read_dependencies(ROOT)
    main = ["list", "ingest", "frames", "pretext", "validate", "train", "evaluate", "report"]
    assert [stage for stage in graph if stage != "downstream"] == main and len(graph) == 9
    assert graph["downstream"] == ["train"]
    assert graph["train"] == ["frames", "pretext", "validate"]
    assert graph["ingest"] == ["list"]


def test_only_the_stage_list_runs_each_time_and_no_other_stage_depends_on_the_source():
    assert stages.read_always_run(ROOT) == {"list"}
    assert not any("${" in dependency for stage in GRAPH.values() for dependency in stage["deps"])


def test_training_depends_on_a_passed_gate():
    assert "data/gate.passed" in GRAPH["train"]["deps"]
    assert "data/gate.passed" in GRAPH["validate"]["outs"]


def test_a_parameter_of_one_task_reruns_no_stage_before_pretext():
    affected = {name for name, stage in GRAPH.items() if any(key.split(".")[0] == "pretext" for key in stage["params"])}
    assert affected == {"pretext", "validate", "evaluate", "report"}


def test_every_output_is_ignored_by_git_and_nothing_in_work_is_an_output():
    ignored = (ROOT / ".gitignore").read_text().split()
    for stage in GRAPH.values():
        items = [*stage.get("outs", []), *stage.get("metrics", [])]
        for out in (name for item in items for name in ([item] if isinstance(item, str) else item)):
            assert f"/{out.split('/')[0]}/" in ignored and not out.startswith("work/")


def test_deployments_name_flows_that_exist():
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, name = deployment["entrypoint"].split(":")
        functions = {node.name: node for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "args")}
        accepted = {argument.arg for argument in functions[name].args.args}
        assert set(deployment["parameters"]) <= accepted


def test_a_stage_runs_once_and_is_then_up_to_date(toy):
    first, lines = run_toy("first")
    assert first == stages.StageResult(0, is_up_to_date=False)
    assert "working on first" in lines
    again, lines = run_toy("first")
    assert again == stages.StageResult(0, is_up_to_date=True)
    assert lines == ["Stage 'first' didn't change, skipping"]


def test_dvc_says_in_this_process_what_is_up_to_date(toy):
    def up_to_date():
        return [stages.is_up_to_date(toy, stage) for stage in ("first", "second")]

    assert up_to_date() == [False, False]
    for stage in ("first", "second"):
        run_toy(stage)
    assert up_to_date() == [True, True] and stages.is_everything_up_to_date(toy, environment())
    (toy / "word.txt").write_text("other")
    assert up_to_date() == [False, True] and not stages.is_everything_up_to_date(toy, environment())
    run_toy("first")
    assert up_to_date() == [True, False]
    with Repo(str(toy)) as repo, repo.lock:
        assert up_to_date() == [False, False]  # not known while another process holds DVC's lock


def test_stages_that_always_run_are_run_before_it_is_said_that_nothing_is_to_do(toy):
    """`watch` finds another source: the stage that reads its output is no longer up to date."""
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    graph["stages"]["watch"] = {"cmd": "cp source.txt word.txt", "always_changed": True, "outs": ["word.txt"]}
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (toy / "source.txt").write_text("kind")
    for stage in ("watch", "first", "second"):
        assert run_toy(stage)[0].exit_code == 0
    assert stages.is_everything_up_to_date(toy, environment())
    (toy / "source.txt").write_text("other")
    assert not stages.is_everything_up_to_date(toy, environment())


def test_an_error_that_the_user_can_fix_reaches_the_pipeline_as_one_sentence(toy, tmp_path):
    (toy / "word.txt").write_text("mistake")
    result, lines = run_toy("first", **{runtime.HANDOFF_VARIABLE: str(tmp_path)})
    assert result.exit_code != 0 and not any("Traceback" in line for line in lines)
    message = "the word must be kind, got 'mistake': write another"
    assert (tmp_path / runtime.MESSAGE_FILE).read_text() == message
    assert f"first stopped: {message}" in lines


def test_a_stage_that_takes_too_long_is_killed_with_its_children(toy):
    (toy / "word.txt").write_text("sleep")

    async def run_with_timeout():
        running = asyncio.create_task(stages.run_dvc_repro("first", False, environment(), lambda line: None))
        while not (toy / "sleeping.pid").exists() or not (toy / "sleeping.pid").read_text():
            await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running, 0.1)

    asyncio.run(run_with_timeout())
    process = int((toy / "sleeping.pid").read_text())
    wait_for(lambda: not Path(f"/proc/{process}").exists(), 5)


def test_only_the_last_state_of_a_progress_bar_is_shown(toy):
    script = "import sys; sys.stdout.write('\\r 10%\\r 55%\\r100% ü\\nafter\\r\\nlast'); sys.stdout.flush()"

    async def collect():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
        return [line async for line in stages._read_lines(process)]

    assert asyncio.run(collect()) == ["100% ü", "after", "last"]


def test_a_message_during_a_progress_bar_has_a_line_of_its_own(tmp_path):
    script = """
import logging
from tqdm import tqdm
from flows.runtime import run_stage

def stage():
    with tqdm(total=2, desc="bar", mininterval=0) as bar:
        bar.update(1)
        logging.getLogger("videossr").info("a message")
        bar.update(1)

run_stage(stage, "toy")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=True)
    lines = [line.rpartition("\r")[2] for line in done.stderr.decode().split("\n")]  # what a terminal shows at the end
    assert lines[0] == "a message" and lines[1].startswith("bar: 100%")


def test_a_line_of_a_stage_reaches_the_log_without_codes_that_a_terminal_obeys(toy):
    script = "print('a\\x1b]0;owned\\x07b\\tc')"

    async def collect():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
        return [line async for line in stages._read_lines(process)]

    assert asyncio.run(collect()) == [r"a\x1b]0;owned\x07b    c"]


@pytest.mark.parametrize("stage", ["ingest", "validate", "report"])
def test_a_stage_outside_a_project_stops_with_one_sentence(stage, tmp_path):
    command = [sys.executable, "-m", f"flows.{stage}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{stage} stopped: no parameters at params.yaml")
    assert "Traceback" not in done.stderr


def test_the_stage_frames_stops_with_one_sentence_and_a_full_quarantine_where_no_video_can_be_stored(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "clip.mp4").write_text("no longer what ingest saw")
    video = Video("0" * 16, "clip.mp4", "h264", 64, 64, 24.0, 4.0, 96, "train")
    write_manifest(tmp_path / "data" / "manifest.parquet", [video])
    write_quarantine(tmp_path / "data" / "rejected.parquet", [RejectedFile("text.mp4", "not_a_video")])
    command = [sys.executable, "-m", "flows.frames"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "none of the 2 files under" in done.stderr and "1 changed_while_read" in done.stderr
    rejected = read_quarantine(tmp_path / "data" / "quarantine.parquet")
    assert [(item.path, item.reason) for item in rejected] == [
        ("clip.mp4", "changed_while_read"),
        ("text.mp4", "not_a_video"),
    ]


def test_the_stage_validate_removes_an_earlier_mark_and_leaves_the_cached_file_behind_it_unchanged(tmp_path):
    (tmp_path / "cached").write_text("passed\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gate.passed").hardlink_to(tmp_path / "cached")
    command = [sys.executable, "-m", "flows.validate"]
    assert subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False).returncode == 1
    assert not (tmp_path / "data" / "gate.passed").exists()
    assert (tmp_path / "cached").read_text() == "passed\n"


def test_replies_are_copied_to_a_new_file_and_the_cached_file_behind_the_old_link_stays_unchanged(tmp_path):
    (tmp_path / "cached").write_text("of an earlier run")
    (tmp_path / "now.jsonl").write_text("of this run")
    replies = tmp_path / "reports" / "now.jsonl"
    replies.parent.mkdir()
    replies.hardlink_to(tmp_path / "cached")
    copy_file(tmp_path / "now.jsonl", replies)
    assert replies.read_text() == "of this run"
    assert (tmp_path / "cached").read_text() == "of an earlier run"
    assert [path.name for path in replies.parent.iterdir()] == ["now.jsonl"]


def test_a_python_without_the_package_stops_with_the_command_that_activates_the_environment():
    bare = [sys.executable, "-S", "-m", "flows.ingest"]  # -S: without site-packages
    run = subprocess.run(bare, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "activate its environment first" in run.stderr and "Traceback" not in run.stderr


def test_a_full_disk_has_a_message_for_the_user_and_a_bug_has_none():
    assert "the disk is full" in (runtime.user_message(OSError(errno.ENOSPC, "No space left", "data/x")) or "")
    assert "make it accessible" in (runtime.user_message(OSError(errno.EROFS, "Read-only file system", "work")) or "")
    assert runtime.user_message(ZeroDivisionError()) is None
    assert runtime.user_message(OSError(errno.EIO, "broken")) is None


def test_a_stage_that_writes_to_a_full_disk_stops_with_that_message(tmp_path):
    script = "from flows.runtime import run_stage\nrun_stage(lambda: open('/dev/full', 'w', 1).write('x\\n'), 'frames')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("frames stopped: the disk is full")


def test_the_lock_file_of_a_killed_dvc_does_not_block_the_next_run(toy):
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    lock = toy / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    preflight.check(toy)
    assert not lock.exists()


def test_locks_of_dead_processes_are_removed_and_those_of_a_running_one_are_kept(toy):
    """DVC would warn of a killed process in every stage."""
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    lock = toy / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(["true"]) as ended:
        pass
    for pid, is_kept in ((os.getpid(), True), (ended.pid, False)):
        lock.write_text(json.dumps({"write": {}, "read": {"/data": [{"pid": pid, "cmd": "dvc repro"}]}}))
        preflight.check(toy)
        assert lock.exists() == is_kept


def test_without_git_the_users_own_dvc_settings_are_kept(toy):
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    local = toy / ".dvc" / "config.local"
    local.write_text("[core]\n    remote = lab\n['remote \"lab\"']\n    url = ssh://lab/data\n    password = secret\n")
    preflight.check(toy)
    text = local.read_text()
    assert "no_scm = true" in text.lower() and "password = secret" in text and "url = ssh://lab/data" in text
    preflight.check(toy)
    assert local.read_text() == text


def test_a_prefect_server_that_does_not_answer_is_passed_over_with_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert server.configured_server() is None
    assert capsys.readouterr().err.count("no Prefect server answers at http://127.0.0.1:9/api") == 1
    monkeypatch.delenv("PREFECT_API_URL")
    assert server.configured_server() is None and capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_pipeline_whose_prefect_server_is_down_runs_with_a_temporary_one(toy):
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    command = [sys.executable, "-m", "flows.pipeline"]
    variables = environment(PREFECT_API_URL="http://127.0.0.1:9/api")
    done = subprocess.run(command, cwd=toy, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.stderr.count("no Prefect server answers") == 1
    assert flow_runs(toy)["pipeline"] == ["COMPLETED"]


@pytest.mark.slow
def test_prefect_shows_every_stage_as_a_task_and_retries_a_crash_but_no_user_error(toy):
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    (toy / "word.txt").write_text("crash")
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    graph["stages"]["watch"] = {"cmd": "echo same > watched", "always_changed": True, "outs": ["watched"]}
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph))
    command = [sys.executable, "-m", "flows.pipeline"]
    done = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout + done.stderr
    assert not any(text in output for text in ("nothing to do", "Finished in state", "Beginning", "View at"))
    assert "first    | ZeroDivisionError: once" in output and "Retry 1/1 will start" in output
    assert "second   | working on second" in output
    assert (toy / "second.out").read_text() == "crash"
    assert flow_runs(toy) == {"pipeline": ["COMPLETED"]}
    assert task_runs(toy) == {"first": [("COMPLETED", 2)], "second": [("COMPLETED", 1)], "watch": [("COMPLETED", 1)]}
    assert mlflow_runs(toy) == [("pipeline", "FINISHED", ["first", "second"])]
    costs = tracking.read_stage_costs(toy)
    assert [cost.stage for cost in costs] == ["first", "second"]
    assert all(cost.seconds > 0 and cost.cpu_seconds > 0 and cost.peak_megabytes > 10 for cost in costs)
    assert _prefect_rows(toy, "select key from artifact") == [("stages",)]

    again = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True, check=False)
    assert "nothing to do: every stage is up to date" in again.stdout + again.stderr

    (toy / "word.txt").write_text("mistake")
    done = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "first stopped: the word must be kind, got 'mistake': write another" in done.stderr
    output = done.stdout + done.stderr
    assert "Traceback" not in output and "Finished in state" not in output
    assert flow_runs(toy) == {"pipeline": ["COMPLETED", "FAILED"]}
    assert ("Stopped", 1) in task_runs(toy, "state_name")["first"]
    assert mlflow_runs(toy)[1:] == [("pipeline", "FAILED", [])]


def flow_runs(project: Path) -> dict[str, list[str]]:
    """Flow -> the states of its runs in Prefect's database."""
    query = "select f.name, r.state_type from flow_run r join flow f on f.id = r.flow_id order by r.state_type"
    runs: dict[str, list[str]] = {}
    for name, state in _prefect_rows(project, query):
        runs.setdefault(name, []).append(state)
    return runs


def task_runs(project: Path, state: str = "state_type") -> dict[str, list[tuple[str, int]]]:
    """Stage -> the state of each of its task runs in Prefect's database, and how often it was tried."""
    runs: dict[str, list[tuple[str, int]]] = {}
    for name, of_run, tries in _prefect_rows(project, f"select name, {state}, run_count from task_run"):
        runs.setdefault(name, []).append((of_run, tries))
    return runs


def _prefect_rows(project: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:
        return database.execute(query).fetchall()


def mlflow_runs(project: Path) -> list[tuple[str, str, list[str]]]:
    """Stage, status and the stages below it, of every run in MLflow that is below no other, oldest first.

    They are read from a copy: the name of a toy project has a question mark, so that its database is opened by a path
    relative to the working directory, and MLflow keeps the first database that it opened by a path.
    """
    copy = Path(tempfile.mkdtemp(dir=project.parent))
    shutil.copytree(project / "mlruns", copy / "mlruns")
    client = tracking.mlflow_client(copy)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time ASC"])
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    stages_below = {
        parent: sorted(run.data.tags["dvc.stage"] for run in runs if parents[run.info.run_id] == parent)
        for parent in parents
    }
    return [
        (run.data.tags["dvc.stage"], run.info.status, stages_below[run.info.run_id])
        for run in runs
        if parents[run.info.run_id] is None
    ]


@pytest.mark.slow
def test_ctrl_c_ends_the_stage_and_the_run_and_prefect_records_the_failure(toy):
    shutil.copyfile(ROOT / "params.yaml", toy / "params.yaml")
    shutil.copytree(ROOT / "sources", toy / "sources")
    (toy / "word.txt").write_text("sleep")
    command = [sys.executable, "-m", "flows.pipeline"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen(command, cwd=toy, env=environment(), start_new_session=True, **pipe)
    wait_for(lambda: (toy / "sleeping.pid").exists() and (toy / "sleeping.pid").read_text(), 120)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1 and output.splitlines()[-1] == f"first stopped: {stages.STOPPED_MESSAGE}"
    stage = int((toy / "sleeping.pid").read_text())
    wait_for(lambda: not Path(f"/proc/{stage}").exists(), 5)
    assert flow_runs(toy)["pipeline"] == ["FAILED"]
    assert mlflow_runs(toy) == [("pipeline", "KILLED", [])]


def test_a_stage_ends_when_its_pipeline_is_killed(toy):
    (toy / "word.txt").write_text("sleep")
    pipeline = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    variables = {runtime.PIPELINE_PID_VARIABLE: str(pipeline.pid)}
    stage = subprocess.Popen([sys.executable, "toy.py", "first"], env=environment(**variables), start_new_session=True)
    wait_for(lambda: (toy / "sleeping.pid").exists(), 30)
    pipeline.kill()
    pipeline.wait()
    assert stage.wait(timeout=10) == -signal.SIGKILL


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} seconds"
        time.sleep(0.05)
