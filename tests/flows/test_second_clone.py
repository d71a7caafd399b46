"""A second clone pulls every output, recomputes nothing, and compares experiments."""

import subprocess

import pytest
import yaml

from tests.support import ROOT
from tests.support.tiny_run import make_tiny_run, run

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


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
