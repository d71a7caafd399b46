"""The ablation of the warm start: equal CPU-seconds by scaled steps, each change alone, and the table of the page."""

import pytest

from bench.warm_start import DEFAULT, VARIATIONS, Runs, scaled_steps, summary_table
from tests.support import ROOT
from videossr import config
from videossr.train.params import TrainParams


def test_only_phases_with_videos_are_scaled_and_all_take_the_same_time():
    steps = scaled_steps([90, 260, 520], [False, True, True], [0.1, 0.5, 1.0], budget=334.0)
    assert steps == [90, 130, 260]
    assert 90 * 0.1 + 130 * 0.5 + 260 * 1.0 == 334.0


@pytest.mark.parametrize("name", [name for name in VARIATIONS if name != DEFAULT])
def test_a_change_differs_from_the_default_in_one_choice(name):
    default = config.build(TrainParams, config.load(ROOT / "params.yaml")["train"], "train")
    changed = VARIATIONS[name][1](default)
    places = [("tiny_random", key) for key in ("text_width", "vocabulary")]
    places += [("warmup", key) for key in ("phases", "optimizer")]
    assert sum(_at(changed, *place) != _at(default, *place) for place in places) == 1


def _at(params, section, key):
    return getattr(getattr(params, section), key)


def test_the_steps_that_a_row_has_are_those_of_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(Runs, "__init__", lambda self: None)
    runs = Runs()
    runs._params = config.load(ROOT / "params.yaml")
    phases = runs.params("no_short", 1, [7, 9]).warmup.phases
    assert [phase.steps for phase in phases] == [7, 9] and runs.params("no_short", 1).seed == 1


def test_the_table_has_a_line_a_change_and_the_difference_of_every_seed():
    def row(name, seed, overall, **more):
        scores = {"overall": overall, "jigsaw_6": 90.0, "jigsaw_8": 10.0, "shuffle": 70.0}
        return {"name": name, "seed": seed, "steps": [1, 2], "cpu_seconds": 300.0, "viubench": scores, **more}

    rows = [row(DEFAULT, 0, 60.0), row(DEFAULT, 1, 62.0)]
    rows.append(row("adamw", 0, 50.0, difference={"overall": -10.0, "ci95": [-12.0, -8.0]}))
    lines = summary_table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2] == "| the default | 1 + 2 | 300 | 61.0 | 90.0 | 10.0 | 70.0 |  |"
    assert lines[3].endswith("| 50.0 | 90.0 | 10.0 | 70.0 | -10.0 (-12.0 to -8.0) |")
