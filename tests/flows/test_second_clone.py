"""A second clone pulls every output, recomputes nothing, and compares experiments."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.support.dvc_project import make_project

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
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


def outputs() -> dict[str, dict[str, object]]:
    """Every output of the graph with its options."""
    items = [item for stage in GRAPH.values() for kind in ("outs", "metrics", "plots") for item in stage.get(kind, [])]
    return {
        path: options for item in items for path, options in (item if isinstance(item, dict) else {item: {}}).items()
    }


def test_every_output_is_in_the_cache_or_in_git():
    """`dvc pull` brings what is in the cache, git the rest: a second clone lacks an output that is in neither."""
    uncached = [path for path, options in outputs().items() if options.get("cache") is False]
    ignored = subprocess.run(["git", "check-ignore", *uncached], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == []


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


@pytest.mark.slow
def test_a_second_clone_pulls_and_nothing_runs(tmp_path):
    project = make_tiny_run(tmp_path / "first")
    run(project, "dvc", "repro")
    run(project, "git", "add", "dvc.lock")
    run(project, "git", "commit", "-qm", "results")
    run(project, "dvc", "remote", "add", "-d", "lab", str(tmp_path / "remote"))
    run(project, "git", "commit", "-qam", "remote")
    run(project, "dvc", "push")

    run(project, "git", "clone", "-q", str(project), str(tmp_path / "second"))
    second = tmp_path / "second"
    run(second, "dvc", "pull")
    assert [path for path in outputs() if not (second / path).exists()] == []
    repro = run(second, "dvc", "repro")
    ran = [line.split("'")[1] for line in repro.splitlines() if line.startswith("Running stage")]
    assert ran == ["list"], repro  # always_changed
    assert run(second, "git", "status", "--short") == ""

    run(second, "dvc", "exp", "run", "-S", "evaluate.bootstrap_samples=300")
    shown = run(second, "dvc", "exp", "show", "--csv", "--no-pager")
    cells = [cell for line in shown.splitlines() for cell in line.split(",")]
    assert "viubench" in shown and "!" not in cells, shown
