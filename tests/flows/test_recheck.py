"""A champion that fails on new VIUBench questions beyond its interval is taken back, by one command."""

from pathlib import Path

import pytest

from flows import promote, recheck
from tests.support import tiny_policy
from tests.support.evaluated_project import make_evaluated_project, write_run
from videossr import tracking
from videossr.dataset.build import build_viubench
from videossr.dataset.samples import write_samples
from videossr.errors import PolicyError
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import take_snapshot
from videossr.ingest.synthetic import SyntheticParams, make_videos
from videossr.recipe import load_recipe


def row(mean, low, high):
    return {"overall": mean, "ci95": {"overall": [low, high]}}


@pytest.mark.parametrize(
    ("before", "now", "fails"),
    [
        (row(75, 65, 85), row(70, 60, 80), False),
        (row(75, 65, 85), row(59, 49, 69), True),  # the intervals overlap, and the change is significant
        (row(75, 65, 85), row(62, 52, 72), False),
        (row(75, 65, 85), row(90, 85, 95), False),
    ],
)
def test_a_change_is_a_failure_where_its_interval_lies_below_zero(before, now, fails):
    low, high = recheck.change_interval(before, now)
    assert (high < 0) == fails and low < now["overall"] - before["overall"] < high


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose tiny random policy is champion, by replies that such a policy does not give."""
    folder = make_evaluated_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    write_run(folder, "first", 0.75, tiny_policy.write_tiny(tmp_path / "tiny"))
    return folder


def write_new_questions(project, num_videos=8):
    """The benchmark that a later run makes from new videos."""
    scenes = SyntheticParams(num_videos=num_videos, size_pixels=32, min_seconds=4.5, max_seconds=6.0)
    make_videos(scenes, 9, Path("new"), 0)
    recipe = load_recipe(project / "params.yaml")
    inventory = ingest(IngestParams("new"), take_snapshot("new", Path("made")), Path("made"), 0)
    write_store(inventory.videos, Path("data/frames"), recipe.frames, 0)
    store = FrameStore(Path("data/frames"))
    path = Path("data/samples/viubench.parquet")
    path.unlink()
    write_samples(path, build_viubench(recipe.pretext, store.frame_times(), 0, store)[::9])


def test_without_a_champion_there_is_nothing_to_check(project):
    with pytest.raises(PolicyError, match="no champion to check"):
        recheck.recheck_champion()


@pytest.mark.slow
def test_a_champion_that_fails_on_new_questions_is_taken_back(project):
    assert "is the champion now" in promote.promote_if_better()
    assert "was promoted on the present questions" in recheck.recheck_champion()
    write_new_questions(project)
    kept = recheck.recheck_champion(withdraw=False)
    assert kept.endswith("it fails") and "75.0 on those that it was promoted on" in kept
    assert tracking.champion(project).number == 1
    assert recheck.recheck_champion() == f"{kept}: it was withdrawn; there is no champion now"
    assert tracking.champion(project) is None
