"""This project's graph and code in a folder of its own, for tests that run DVC on a source of theirs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support import ROOT


def make_project(folder: Path, source: str) -> Path:
    """A project with small frames of `source`, as it would be unpacked from an archive, without git."""
    folder.mkdir()
    for name in ("flows", "src", ".dvc"):
        ignored = shutil.ignore_patterns("tmp", "cache", "config.local", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["source"] = source
    params["frames"] |= {"num_frames": 16}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return folder


def repro(project: Path, *stages: str) -> str:
    """What `dvc repro` of these stages says; it must end well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
