"""A project in git whose whole run takes about a minute, and commands in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support import ROOT
from tests.support.dvc_project import make_project

TINY_RUN = {
    "frames": {"num_frames": 48},
    "pretext": {
        "grounding": {"num_frames": 16, "min_length": 2, "max_length": 6, "align": 2},
        "counting": {"num_frames": 16, "min_gap": 2},
        "jigsaw": {"frames_per_clip_6": 2, "frames_per_clip_8": 2, "frames_per_clip_4": 4},
        "train": {"num_samples": 48, "mixture": {"grounding/mirror": 2, "counting/easy": 1, "jigsaw/6": 1}},
        "viubench": {"per_column": 4},
    },
    "train": {
        "tiny_random": {"text_width": 64, "text_layers": 2, "vision_width": 64, "vision_layers": 2},
        "warmup": {"phases": [{"steps": 4, "batch_size": 4}]},
        "grpo": {"steps": 2, "prompts_per_step": 4, "prompts_per_forward": 2, "group_size": 4},
    },
    "evaluate": {"bootstrap_samples": 200},
}
SOURCE = {"num_videos": 12, "min_seconds": 5.0, "max_seconds": 6.0, "size_pixels": 64, "fps": 12}


def run(project: Path, *command: str) -> str:
    """Run a command in a project, which must succeed; returns its standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    identity = {
        f"GIT_{role}_{part}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **identity, "PATH": path, "PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"}
    environment.pop("PREFECT_API_URL", None)
    process = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def make_tiny_run(folder: Path) -> Path:
    """A project in git whose whole run takes about a minute."""
    project = make_project(folder, "sources/tiny.yaml")
    (project / ".dvc" / "config.local").unlink()
    for name in (".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, project / name)
    (project / "sources").mkdir()
    (project / "sources" / "tiny.yaml").write_text(yaml.safe_dump(SOURCE))
    params = yaml.safe_load((project / "params.yaml").read_text())
    for section, values in TINY_RUN.items():
        params[section] = {**params[section], **values}
    params["train"]["grpo"] |= {"max_completion_tokens": 8, "loss_type": "dr_grpo", "scale_rewards": "none"}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    run(project, "git", "init", "-q", "-b", "main")
    run(project, "git", "add", "-A")
    run(project, "git", "commit", "-qm", "a tiny run")
    return project
