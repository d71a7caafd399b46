"""VIUBench's arithmetic: columns, their mean, intervals over videos, and a paired gain."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videossr.evaluation import viubench
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.records import ScoredReply

QUICK = {"bootstrap_samples": 400, "seed": 0}


def scored(column: str, video: int, score: float, question: int = 0, parsed: bool = True) -> ScoredReply:
    task, variant = viubench.COLUMNS[column]
    name = f"video{video:03d}"
    return ScoredReply(f"{column}/{name}/{question}", task, variant, name, "answer", "reply", parsed, score)


def answered(scores: dict[str, list[float]]) -> list[ScoredReply]:
    """One question a video in each column: scores[column][video]."""
    return [scored(column, video, score) for column, row in scores.items() for video, score in enumerate(row)]


def everywhere(row: list[float]) -> list[ScoredReply]:
    return answered({column: row for column in viubench.COLUMNS})


def test_overall_is_the_mean_of_the_columns_not_of_the_questions() -> None:
    scores = {column: [0.0] * 2 for column in viubench.COLUMNS} | {"mirror": [1.0] * 50}
    row = viubench.summarise(answered(scores), **QUICK)
    assert row["mirror"] == 100
    assert row["overall"] == pytest.approx(100 / 9, abs=1e-3)
    assert row["n"] == 66 and row["videos"] == 50


def test_a_column_is_the_mean_over_its_questions_though_videos_carry_different_numbers_of_them() -> None:
    items = everywhere([0.0, 1.0]) + [scored("shuffle", 0, 0.0, question) for question in (1, 2)]
    row = viubench.summarise(items, **QUICK)
    assert row["shuffle"] == 25
    assert row["jigsaw_6"] == 50


def test_an_unparsable_reply_stays_in_the_denominator() -> None:
    items = everywhere([1.0, 1.0, 1.0]) + [scored("jigsaw_8", 1, 0.0, question=1, parsed=False)]
    row = viubench.summarise(items, **QUICK)
    assert row["jigsaw_8"] == 75
    assert row["unparsed"] == 1 and row["n"] == 28


def test_a_missing_column_is_an_error_and_not_a_smaller_mean() -> None:
    with pytest.raises(ValueError, match="no question of zoom_out"):
        viubench.summarise([item for item in everywhere([1.0]) if item.variant != "zoom_out"], **QUICK)


def test_intervals_hold_the_mean_and_shrink_with_more_videos() -> None:
    rng = np.random.default_rng(3)
    few = viubench.summarise(everywhere(list(rng.random(10))), **QUICK)
    many = viubench.summarise(everywhere(list(rng.random(1000))), **QUICK)
    for row in (few, many):
        for name in [*viubench.COLUMNS, "overall"]:
            assert row["ci95"][name][0] <= row[name] <= row["ci95"][name][1]
    assert _width(many, "mirror") < _width(few, "mirror") / 4


def test_the_interval_of_independent_videos_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(5).random(400)
    row = viubench.summarise(everywhere(list(values)), bootstrap_samples=4000, seed=1)
    expected = 2 * 1.96 * 100 * values.std() / np.sqrt(len(values))
    assert _width(row, "mirror") == pytest.approx(expected, rel=0.08)


def test_questions_about_one_video_are_drawn_together() -> None:
    """Ten questions a video that all agree tell no more than one: the interval must not shrink with them."""
    answers = [float(video % 2) for video in range(40)]
    alone = viubench.summarise(everywhere(answers), **QUICK)
    tenfold = [scored(c, v, s, q) for c in viubench.COLUMNS for v, s in enumerate(answers) for q in range(10)]
    assert _width(viubench.summarise(tenfold, **QUICK), "mirror") == _width(alone, "mirror")


@pytest.mark.parametrize("num_videos", [1, MIN_VIDEOS - 1])
def test_too_few_videos_leave_everything_open_however_well_they_agree(num_videos: int) -> None:
    row = viubench.summarise(everywhere([1.0] * num_videos), **QUICK)
    assert row["ci95"]["overall"] == [0, 100]
    gained = viubench.gain(everywhere([0.0] * num_videos), everywhere([1.0] * num_videos), **QUICK)
    assert gained["overall"] == 100 and gained["ci95"] == [-100, 100]
    assert not gained["significant"]


def test_a_column_that_a_resample_misses_does_not_break_the_interval() -> None:
    scores = {column: [0.5] for column in viubench.COLUMNS} | {"mirror": [0.0, 0.0, 1.0] * 3}
    row = viubench.summarise(answered(scores), **QUICK)
    assert row["ci95"]["jigsaw_6"] == [50, 50]
    assert np.isfinite(row["ci95"]["overall"]).all()


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_the_questions() -> None:
    items = everywhere(list(np.random.default_rng(0).random(20)))
    assert viubench.summarise(items, **QUICK) == viubench.summarise(items[::-1], **QUICK)


def test_a_gain_on_every_question_is_significant_though_the_scores_differ_widely() -> None:
    """Pairing sees it: both rows have wide, overlapping intervals, the difference is constant."""
    before = np.random.default_rng(1).random(30) * 0.9
    gained = viubench.gain(everywhere(list(before)), everywhere(list(before + 0.02)), **QUICK)
    assert gained["overall"] == pytest.approx(2, abs=1e-3)
    assert gained["significant"] and gained["ci95"][0] > 0
    assert gained["columns"]["mirror"]["mean"] == pytest.approx(2, abs=1e-3)


def test_a_gain_that_chance_explains_is_not_significant() -> None:
    rng = np.random.default_rng(2)
    gained = viubench.gain(everywhere(list(rng.random(30))), everywhere(list(rng.random(30))), **QUICK)
    assert not gained["significant"]
    assert gained["ci95"][0] < 0 < gained["ci95"][1]


def test_a_loss_is_significant_too_and_negative() -> None:
    gained = viubench.gain(everywhere([0.8] * 8), everywhere([0.2] * 8), **QUICK)
    assert gained["significant"] and gained["ci95"][1] < 0


def test_a_gain_needs_the_same_questions() -> None:
    with pytest.raises(ValueError, match="same questions"):
        viubench.gain(everywhere([0.5, 0.5]), everywhere([0.5]), **QUICK)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_every_summary_lies_in_percent_and_its_interval_is_ordered(row_of_scores: list[float]) -> None:
    row = viubench.summarise(everywhere(row_of_scores), bootstrap_samples=100, seed=0)
    for name in [*viubench.COLUMNS, "overall"]:
        low, high = row["ci95"][name]
        assert -1e-3 <= low <= high <= 100.001
        assert row[name] == pytest.approx(100 * np.mean(row_of_scores), abs=1e-3)


def test_results_are_written_whole_with_columns_rows_and_gain(tmp_path: Path) -> None:
    rows = {name: viubench.summarise(everywhere([0.2, 0.4]), **QUICK) for name in ("random", "before", "after")}
    path = tmp_path / "reports" / "viubench.json"
    viubench.write_results(path, rows, viubench.gain(everywhere([0.2]), everywhere([0.4]), **QUICK))
    written = json.loads(path.read_text())
    assert written["columns"] == list(viubench.COLUMNS)
    assert written["rows"] == rows
    assert written["gain"]["overall"] == 20
    assert [item.name for item in path.parent.iterdir()] == ["viubench.json"]


def test_the_papers_table_agrees_with_itself() -> None:
    table = viubench.paper_table()
    assert len(table["rows"]) == 13
    for model, row in table["rows"].items():
        # One row of the printed table (Seed1.5-VL) is off by 0.1: means of unrounded columns.
        assert np.mean([row[name] for name in viubench.COLUMNS]) == pytest.approx(row["overall"], abs=0.11), model


def _width(row: dict[str, dict[str, list[float]]], name: str) -> float:
    low, high = row["ci95"][name]
    return high - low
