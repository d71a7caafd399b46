"""The services of a project start together, stop together, and touch nothing else."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from bench.operations import make_project
from tests.support import ROOT
from tests.support.browser import open_browser
from videossr.errors import ConfigError, VideoSSRError
from videossr.services import supervisor
from videossr.services.definitions import Ports, project_services, services_folder
from videossr.services.systemd import systemd_unit


def test_three_ports_are_needed():
    with pytest.raises(ConfigError, match="three different numbers"):
        Ports(prefect=5000, mlflow=5000)
    with pytest.raises(ConfigError, match="three different numbers"):
        Ports(pages=70000)


def test_every_service_listens_on_this_machine_alone():
    for service in project_services(Ports(), "sqlite:///mlruns/mlflow.db"):
        assert "127.0.0.1" in " ".join(service.command) and "0.0.0.0" not in service.command
    assert "mlflow" not in {service.name for service in project_services(Ports(), "https://mlflow.example")}


def test_another_process_with_the_old_number_is_not_taken_for_the_services(tmp_path):
    services_folder(tmp_path).mkdir()
    (services_folder(tmp_path) / "supervisord.pid").write_text(f"{os.getpid()}\n")
    assert supervisor.find_supervisor(tmp_path) is None
    assert not supervisor.stop(tmp_path)


def test_the_process_id_of_the_services_may_come_late(tmp_path, monkeypatch):
    """supervisord's command ends before the process that it leaves behind has written its id."""
    folder = services_folder(tmp_path)
    folder.mkdir()
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(folder / "supervisord.conf")]
    left_behind = subprocess.Popen(command)
    late = threading.Timer(1, lambda: (folder / "supervisord.pid").write_text(str(left_behind.pid)))
    try:
        late.start()
        supervisor.wait_for_process_id(tmp_path)
        assert supervisor.find_supervisor(tmp_path) is not None
    finally:
        late.join()
        left_behind.kill()
        left_behind.wait()
    monkeypatch.setattr(supervisor, "PROCESS_ID_SECONDS", 0.1)
    with pytest.raises(VideoSSRError, match="ended at once"):
        supervisor.wait_for_process_id(tmp_path)


@pytest.mark.parametrize("content", ["", "word", "999999999"])
def test_a_damaged_or_old_process_file_means_that_nothing_runs(tmp_path, content):
    services_folder(tmp_path).mkdir()
    (services_folder(tmp_path) / "supervisord.pid").write_text(content)
    assert supervisor.running_ports(tmp_path) is None


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = videossr(tmp_path, "up", "--mlflow-port", str(port))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"port {port} cannot be used" in done.stderr and "--mlflow-port N" in done.stderr
    assert not services_folder(tmp_path).exists()


def test_systemd_accepts_the_unit(tmp_path):
    program = Path(sys.executable).parent / "videossr"
    unit = tmp_path / "videossr.service"
    unit.write_text(systemd_unit(tmp_path, program))
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    command = ["systemd-analyze", "--user", "verify", str(unit)]
    variables = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    with pytest.raises(ConfigError, match="without spaces"):
        systemd_unit(tmp_path / "my project", program)


@pytest.fixture
def project(tmp_path):
    """The project's flows without data, in a folder whose name has characters that configuration files interpret."""
    folder = tmp_path / "100% #1; 'my\" project"
    folder.mkdir()
    for name in ("prefect.yaml", "dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "flows", folder / "flows")
    yield folder
    videossr(folder, "down")


@pytest.mark.slow
@pytest.mark.timeout(900)  # services start one after the other, minutes on a busy machine
def test_the_services_start_run_a_deployment_and_stop(project):
    ports = dict(zip(("prefect", "mlflow", "pages"), free_ports(3), strict=True))
    options = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    neighbour = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(free_ports(1)[0])])
    try:
        up = videossr(project, "up", *options)
        assert up.returncode == 0 and up.stdout.count("ready") == 5 and "not ready" not in up.stdout, up.stderr
        deployments = {item["name"]: item for item in call(api, "deployments/filter", {})}
        assert set(deployments) >= {"weekly", "promote"}

        # A deployment runs in its worker, in the folder of the project. Without a model it fails, and says why.
        assert deployments["promote"]["pull_steps"] == [
            {"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}
        ]
        run = call(api, f"deployments/{deployments['promote']['id']}/create_flow_run", {})
        assert "there is no trained policy" in wait_for_end(api, run["id"])["message"]

        # A person's switch is kept, and starting twice changes nothing.
        weekly = deployments["weekly"]
        schedule = f"deployments/{weekly['id']}/schedules/{weekly['schedules'][0]['id']}"
        call(api, schedule, {"active": True}, method="PATCH")
        assert videossr(project, "up", *options).returncode == 0
        assert call(api, f"deployments/{weekly['id']}", method="GET")["schedules"][0]["active"]
        assert "other ports" in videossr(project, "up").stderr

        # A run that the services took down with them is marked, and holds back no later run.
        lost = call(api, f"deployments/{weekly['id']}/create_flow_run", {"state": {"type": "PENDING"}})
        call(api, f"flow_runs/{lost['id']}/set_state", {"state": {"type": "RUNNING"}, "force": True})
        assert videossr(project, "down").stdout == "stopped\n"
        assert [supervisor.find_supervisor(project), neighbour.poll()] == [None, None]
        assert all(is_free(port) for port in ports.values())
        assert videossr(project, "up", *options).returncode == 0
        assert call(api, f"flow_runs/{lost['id']}", method="GET")["state"]["type"] == "CRASHED"
    finally:
        neighbour.kill()
        neighbour.wait()


LONG_STAGE = """
import os, pathlib, subprocess, sys, time
if pathlib.Path("short").exists():
    sys.exit(pathlib.Path("work.bin").write_text("done") == 0)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # services start one after the other, minutes on a busy machine
@pytest.mark.parametrize("where", ["in the pages of Prefect", "by its API"])
def test_a_run_that_a_person_cancels_stops_its_processes_and_says_so_in_one_sentence(tmp_path, where):
    project = make_project(tmp_path / "project")
    (project / "stage.py").write_text(LONG_STAGE)
    ports = dict(zip(("prefect", "mlflow", "pages"), free_ports(3), strict=True))
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    try:
        up = videossr(project, "up", *[text for name, port in ports.items() for text in (f"--{name}-port", str(port))])
        assert up.returncode == 0, up.stderr
        weekly = call(api, "deployments/name/pipeline/weekly", method="GET")["id"]
        run = call(api, f"deployments/{weekly}/create_flow_run", {})["id"]
        processes = wait_for_text(project / "pids").split()
        if where == "by its API":
            call(api, f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        else:
            cancel_in_browser(tmp_path, f"http://127.0.0.1:{ports['prefect']}/runs/flow-run/{run}")
        assert wait_for_end(api, run)["type"] == "CANCELLED"
        assert not any(Path(f"/proc/{process}").exists() for process in processes)
        log = (project / ".services" / "worker-gpu.log").read_text()
        assert "Traceback" not in log and "Crash" not in log, log
        assert log.count("cancelled: finished stages are kept, and the next run continues from here") == 1

        (project / "short").touch()
        again = call(api, f"deployments/{weekly}/create_flow_run", {})["id"]
        assert wait_for_end(api, again)["type"] == "COMPLETED"
    finally:
        videossr(project, "down")


def cancel_in_browser(folder, address):
    """Press Cancel on the page of a flow run, and confirm it."""
    with open_browser(folder / "profile") as page:
        page.resize(1280, 1000)
        page.visit(address)
        page.click("button", "Cancel")
        page.wait_for_text("Cancel Flow Run")
        page.click("button", "Confirm")
        page.wait_for_text("Cancell")


def videossr(folder, *arguments):
    """Run the command line program in `folder`."""
    names = ("PREFECT_HOME", "PREFECT_API_URL", "DVC_ROOT")
    variables = {name: value for name, value in os.environ.items() if name not in names}
    variables |= {"PYTHONPATH": str(ROOT / "src"), "PWD": "/"}  # only a shell keeps $PWD right
    command = [sys.executable, "-c", "from videossr.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def free_ports(count):
    """Ports of 127.0.0.1 that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def call(api, path, body=None, method="POST"):
    """One call of Prefect's REST API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}/{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as reply:
        content = reply.read()
    return json.loads(content) if content else None


def wait_for_text(path):
    """The content of a file that another process writes."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.2)
    raise AssertionError(f"{path} was not written")


def wait_for_end(api, run_id):
    """The final state of a flow run."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = call(api, f"flow_runs/{run_id}", method="GET")["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(1)
    raise AssertionError(f"the run did not end: {state}")
