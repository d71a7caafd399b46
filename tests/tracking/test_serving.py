"""The served champion answers over HTTP, opens no file outside its folder, and says nothing about its machine."""

import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from flows import promote
from tests.support import tiny_policy
from tests.support.evaluated_project import make_evaluated_project, write_run
from tests.support.videos import write_video
from videossr import tracking
from videossr.errors import DecodeError, PolicyError
from videossr.evaluation.downstream import open_policy
from videossr.tracking.serving import build_app
from videossr.tracking.video_access import FOLDER_VARIABLE


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a champion, and a folder `clips` with a video, a damaged one, and a link out of the folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_evaluated_project(tmp_path_factory.mktemp("served") / "project")
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        write_run(folder, "first", 0.75, tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny") / "tiny"))
        assert "champion" in promote.promote_if_better()
        (folder / "clips").mkdir()
        write_video(folder / "secret.mp4")
        write_video(folder / "clips" / "a.mp4")
        (folder / "clips" / "damaged.mp4").write_text("no video")
        (folder / "clips" / "link.mp4").symlink_to(folder / "secret.mp4")
        patch.setenv(FOLDER_VARIABLE, str(folder / "clips"))
        yield folder


@pytest.fixture(scope="module")
def client(project):
    return TestClient(build_app(project), raise_server_exceptions=False)


def ask(client, video):
    row = {"question": "When?", "videos": [video]}
    return client.post("/invocations", json={"dataframe_records": [row]})


def test_a_video_of_the_folder_and_an_uploaded_one_are_answered(client, project):
    answers = [ask(client, "a.mp4"), ask(client, data_uri((project / "clips" / "a.mp4").read_bytes()))]
    assert [reply.status_code for reply in answers] == [200, 200]
    first, second = (reply.json()["predictions"][0]["answer"] for reply in answers)
    assert isinstance(first, str) and first == second


def data_uri(content):
    return f"data:video/mp4;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("video", "sentence"),
    [
        ("../secret.mp4", "below the server's folder"),
        ("/etc/passwd", "below the server's folder"),
        ("link.mp4", "below the server's folder"),
        ("missing.mp4", "below the server's folder"),
        ("", "below the server's folder"),
        ("http://127.0.0.1/x.mp4", "below the server's folder"),
        ("damaged.mp4", "a video cannot be read"),
        (data_uri(b"no video"), "a video cannot be read"),
        ("data:video/mp4;base64,***", "must go on with"),
    ],
)
def test_a_file_that_may_not_be_opened_or_read_is_one_message_without_paths(client, project, video, sentence):
    reply = ask(client, video)
    assert reply.status_code == 400 and sentence in reply.json()["message"]
    assert_nothing_leaks(reply, project)


@pytest.mark.parametrize("body", ["{", "[]", json.dumps({"dataframe_records": [{"question": 1}]})])
def test_a_malformed_request_shows_no_stack_trace(client, project, body):
    reply = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert_nothing_leaks(reply, project)


def assert_nothing_leaks(reply, project):
    assert set(reply.json()) <= {"error_code", "message"}
    assert not any(text in reply.text for text in ("Traceback", "site-packages", ".py", str(project)))


@pytest.mark.slow
def test_the_server_of_mlflow_answers_about_a_clip(project, client, tmp_path):
    """`mlflow models serve` as documented: a process of its own, which knows the registry and the folder of videos."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port))
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/videossr@champion", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where MLflow finds uvicorn
    variables = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": "sqlite:///mlruns/mlflow.db"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=project, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_it_answers(f"{address}/ping", server, tmp_path / "log")
        for video in ("a.mp4", data_uri((project / "clips" / "a.mp4").read_bytes())):
            body = json.dumps({"dataframe_records": [{"question": "When?", "videos": [video]}]}).encode()
            request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                assert json.load(reply) == ask(client, "a.mp4").json()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_until_it_answers(address, server, log):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)


def test_a_server_without_a_folder_opens_no_file(project, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE)
    reply = ask(TestClient(build_app(project)), "a.mp4")
    assert reply.status_code == 400 and "opens no files" in reply.json()["message"]


def test_the_champion_that_a_program_loads_itself_opens_what_the_program_may_open(project):
    champion = tracking.load_champion(project)
    questions = pd.DataFrame({"question": ["When?"], "videos": [[str(project / "secret.mp4")]]})
    assert len(champion.predict(questions)) == 1
    questions["videos"] = [[str(project / "clips" / "damaged.mp4")]]
    with pytest.raises(DecodeError, match="not_a_video"):
        champion.predict(questions)


def test_the_champion_is_a_policy_by_its_name(project):
    find = partial(tracking.registered_checkpoint, project)
    champion = open_policy("models:/videossr@champion", find)
    by_number = open_policy(f"models:/videossr/{tracking.champion(project).number}", find)
    files = open_policy(str(project / "models" / "policy"))
    assert champion.policy_id == by_number.policy_id == files.policy_id


@pytest.mark.parametrize("uri", ["models:/videossr/99", "models:/other@champion", "models:/videossr@newest"])
def test_a_version_that_is_not_registered_is_one_sentence(project, uri):
    with pytest.raises(PolicyError, match="the registry has no 'models:/.*one of its versions"):
        tracking.registered_checkpoint(project, uri)


def test_a_copied_project_loads_its_champion_from_its_own_files(project, tmp_path):
    copy = tmp_path / "a 'moved\" project #2"
    shutil.copytree(project, copy)
    version = tracking.champion(copy)
    assert version == tracking.champion(project)
    found = tracking.checkpoint_folder(copy, version)
    assert found.is_relative_to(copy), found
    assert tracking.load_artifact(copy, version, "evaluate/after.jsonl").exists()
    questions = pd.DataFrame({"question": ["When?"], "videos": [[str(copy / "clips" / "a.mp4")]]})
    assert len(tracking.load_champion(copy).predict(questions)) == 1
    with sqlite3.connect(copy / "mlruns" / "mlflow.db") as database:
        assert str(project) not in "\n".join(database.iterdump())
    assert tracking.checkpoint_folder(project, version).is_relative_to(project)  # the original is unchanged
