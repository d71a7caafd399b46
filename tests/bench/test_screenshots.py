"""Pictures of pages: every page in every form, and what is wrong with it."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.overhead import make_project
from bench.screenshots import take_pictures, take_service_pictures
from tests.support import ROOT
from tests.support.browser import find_chromium
from videossr.services.definitions import Ports

GOOD = """<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<p>text</p>"""
BAD = f"""{GOOD}<div style="width: 700px">wide</div><p style="color: #aaa; background: #bbb">pale</p>
<div style="width: 300px; overflow-x: auto"><div style="width: 600px">hidden</div></div>
<script>throw new Error("broken")</script><img src="http://127.0.0.1:1/picture.png">"""


def test_every_page_is_shown_in_four_forms_and_its_faults_are_named(tmp_path: Path) -> None:
    if find_chromium() is None:
        pytest.skip("needs Chromium")
    pages, out = tmp_path / "pages", tmp_path / "out"
    (pages / "below").mkdir(parents=True)
    (pages / "good.html").write_text(GOOD)
    (pages / "below/bad.html").write_text(BAD)
    faults = take_pictures(pages, out)
    forms = [f"{width}-{scheme}" for width in ("wide", "narrow") for scheme in ("light", "dark")]
    names = {path.stem for path in out.iterdir() if path.stat().st_size}
    assert names == {f"{page}-{form}" for page in ("good", "below-bad") for form in forms}
    assert [fault for fault in faults if not fault.startswith("below-bad-")] == []
    found = {
        fault.partition(": ")[2].partition(":")[0] for fault in faults if fault.startswith("below-bad-narrow-light")
    }
    assert {"cut off", "low contrast"} <= found and any("asks for http://127.0.0.1:1/" in fault for fault in faults)
    assert any("broken" in fault for fault in faults)
    assert any("wide-dark: must be scrolled sideways" in fault for fault in faults)


@pytest.mark.slow
@pytest.mark.timeout(900)  # services start one after the other, minutes on a busy machine
def test_the_pages_of_prefect_and_mlflow_show_a_run_and_ask_no_other_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_chromium() is None:
        pytest.skip("needs Chromium")
    project = make_project(tmp_path / "project", 2)
    for name in ("flows", "sources"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)
    shutil.copyfile(ROOT / "prefect.yaml", project / "prefect.yaml")
    ports = free_ports()
    flags = [text for name, port in asdict(ports).items() for text in (f"--{name}-port", str(port))]
    try:
        command(project, "-c", "from videossr.cli import main; main()", "up", *flags)
        command(project, "-m", "flows.pipeline")
        monkeypatch.chdir(project)
        monkeypatch.setenv("DVC_ROOT", str(project))
        faults = take_service_pictures(project, ports, tmp_path / "out")
        pictures = {path.stem.rpartition("-run-")[0] or path.stem for path in (tmp_path / "out").iterdir()}
    finally:
        command(project, "-c", "from videossr.cli import main; main()", "down")
    assert faults == []
    assert {"prefect", "prefect-dashboard", "prefect-artifact", "prefect-deployments"} <= pictures
    assert {"mlflow-runs", "mlflow-run"} <= pictures


def command(project: Path, *arguments: str) -> None:
    """Run a Python command in the project; it must succeed."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "PREFECT_API_URL")}
    variables |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "DVC_ROOT": str(project)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def free_ports() -> Ports:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in sockets))
