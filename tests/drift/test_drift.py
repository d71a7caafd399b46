"""Drift is found on a planted batch, and not on an ordinary second batch of the same generator."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.drift import finding_rows
from tests.support import ROOT
from tests.support.drift_batches import SCENES, darken, make_batch, write_data, write_planted
from videossr import tracking
from videossr.cli import app
from videossr.drift import DriftParams, Profile, find_drift, measure_batch, measure_project
from videossr.drift.page import render_page
from videossr.errors import ConfigError
from videossr.recipe import load_recipe
from videossr.storage.atomic import write_text

PROPERTIES = {
    "length (s)",
    "frames a second",
    "pixels",
    "brightness",
    "motion",
    "visibility of grounding",
    "visibility of counting",
    "visibility of jigsaw",
    "blind answer",
    "codec",
    "refused files",
}


def profile_of(folder):
    recipe = load_recipe(ROOT / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        patch.setenv("VIDEOSSR_ENGINE", "here")
        return measure_batch(folder.name, replace(recipe, frames=replace(recipe.frames, max_pixels=1024)))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return profile_of(make_batch(tmp_path_factory.mktemp("reference") / "videos", 0))


PLANTED = {
    "dark": ({"change": darken}, {"brightness"}),
    "still": (
        {"change": lambda frames: np.repeat(frames[:1], len(frames), axis=0)},
        {"motion", "visibility of jigsaw"},
    ),
    "other codec": ({"change": lambda frames: frames, "codec": "mpeg4"}, {"codec"}),
    "many refused": ({"change": lambda frames: frames, "refused": 24}, {"refused files"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_change_is_found_and_named(name, reference, tmp_path):
    options, expected = PLANTED[name]
    drift = find_drift(reference, profile_of(write_planted(tmp_path / "new", **options)), DriftParams())
    found = {finding.name for finding in drift.drifted}
    assert expected <= found, drift.sentence
    assert {finding.name for finding in drift.findings} == PROPERTIES
    assert all(word in drift.sentence for word in expected)


def test_other_lengths_rates_and_sizes_are_found(reference, tmp_path):
    scenes = replace(SCENES, min_seconds=9.0, max_seconds=12.0, fps=24, size_pixels=64)
    drift = find_drift(reference, profile_of(make_batch(tmp_path / "new", 5, scenes)), DriftParams())
    assert {"length (s)", "frames a second", "pixels"} <= {finding.name for finding in drift.drifted}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_an_ordinary_second_batch_of_the_same_generator_is_no_drift(seed, reference, tmp_path):
    drift = find_drift(reference, profile_of(make_batch(tmp_path / "new", seed)), DriftParams())
    assert drift.drifted == [], drift.sentence


def test_random_batches_of_one_distribution_rarely_drift():
    """The correction holds: of 200 pairs of batches without a difference, at most 1 % drift, with any effect."""
    rng, params = np.random.default_rng(0), DriftParams(alpha=0.05, min_effect=0.001)

    def draw():
        columns = {str(number): tuple(rng.normal(size=30)) for number in range(10)}
        return Profile(columns, {"h264": 30}, {"corrupt": 3}, ())

    drifted = sum(bool(find_drift(draw(), draw(), params).drifted) for _ in range(200))
    assert drifted <= 10


def test_a_significant_difference_without_size_is_no_drift():
    rng = np.random.default_rng(0)
    before, now = (Profile({"x": tuple(rng.normal(shift, size=5000))}, {"h264": 5000}, {}, ()) for shift in (0, 0.2))
    (finding,) = [each for each in find_drift(before, now, DriftParams()).findings if each.name == "x"]
    assert finding.corrected < 1e-10 and not finding.drifted
    assert [each.name for each in find_drift(before, now, DriftParams(min_effect=0.05)).drifted] == ["x"]


def test_few_videos_and_wrong_thresholds_are_one_sentence(reference):
    few = Profile({"x": (1.0,)}, {"h264": 1}, {}, ())
    with pytest.raises(ConfigError, match="at least 8 usable videos, the new batch has 1"):
        find_drift(reference, few, DriftParams())
    with pytest.raises(ConfigError, match="alpha must lie between"):
        DriftParams(alpha=0.0)


def test_a_profile_is_read_as_it_was_written(reference):
    assert Profile.from_json(json.loads(json.dumps(reference.as_json()))) == reference


def test_the_page_loads_nothing_and_escapes_names(reference):
    drift = find_drift(reference, reference, DriftParams())
    assert drift.num_known == reference.num_videos and not drift.drifted
    page = render_page(drift, reference, reference, DriftParams(), "<script>alert(1)</script>", "the champion's")
    assert "<script>" not in page and "http" not in page.replace("http://www.w3.org", "")
    assert "prefers-color-scheme: dark" in page and "no drift" in page


def test_the_command_writes_a_page_json_and_a_run_in_mlflow(tmp_path, monkeypatch):
    """Without a champion, the reference is the project's own data."""
    project = tmp_path / "project"
    write_text(project / "params.yaml", (ROOT / "params.yaml").read_text())
    make_batch(project / "videos", 3)
    make_batch(project / "new", 4)
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("VIDEOSSR_ENGINE", "here")
    write_data(project)
    done = CliRunner().invoke(app, ["drift", "new"], catch_exceptions=False)
    assert re.search(r"no drift: .* properties\ndetails: reports/drift.html$", done.output, re.MULTILINE)
    assert "no drift: 24 new videos against 24" in done.output and (project / "reports" / "drift.html").exists()
    record = json.loads((project / "reports" / "drift.json").read_text())
    assert record["drifted"] == [] and len(record["findings"]) == len(PROPERTIES)
    client = tracking.mlflow_client(project)
    (run,) = client.search_runs([client.get_experiment_by_name("videossr").experiment_id])
    assert run.data.metrics["drifted"] == 0 and "effect/length in seconds" in run.data.metrics
    profile = measure_project(load_recipe(Path("params.yaml")))
    rows = finding_rows(find_drift(profile, profile, DriftParams()))
    assert {row["property"] for row in rows} == PROPERTIES and {row["verdict"] for row in rows} == {"same"}
