"""A copy of this project's graph and code, for tests that run DVC on a source of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support import ROOT


def make_project(folder: Path, source: str) -> Path:
    """Copy the project to `folder` without git, as from an archive, with `source` and 24 frames a video."""
    folder.mkdir()
    for name in ("flows", "src", ".dvc"):
        ignored = shutil.ignore_patterns("tmp", "cache", "config.local", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["source"] = source
    params["frames"] |= {"num_frames": 24}
    for task in ("grounding", "counting"):
        params["pretext"][task] |= {"num_frames": 12}
    params["pretext"]["jigsaw"] = {"frames_per_clip_4": 3, "frames_per_clip_6": 2, "frames_per_clip_8": 3}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return folder


def repro(project: Path, *stages: str) -> str:
    """Run `dvc repro` of these stages, which must succeed; returns its standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    process = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout
