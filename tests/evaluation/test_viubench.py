"""VIUBench: column means, their mean, intervals over videos, and the paired gain."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.windows import window_of
from videossr.evaluation import viubench
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.records import ScoredReply

ANSWERS = {"counting": "1,2,3", "grounding": "1.0-2.0", "jigsaw": "2143"}
QUICK = {"bootstrap_samples": 400, "seed": 0}


def scored_reply(column: str, video: int, score: float, question: int = 0, parsed: bool = True) -> ScoredReply:
    task, variant = viubench.COLUMNS[column]
    video_id = f"video{video:03d}"
    return ScoredReply(
        f"{column}/{video_id}/{question}", task, variant, video_id, ANSWERS[task], "reply", parsed, score
    )


def one_question_per_video(scores: dict[str, list[float]]) -> list[ScoredReply]:
    """The replies with the scores `scores[column][video]`."""
    return [scored_reply(column, video, score) for column, row in scores.items() for video, score in enumerate(row)]


def same_in_all_columns(scores: list[float]) -> list[ScoredReply]:
    """One question per video and column, with the scores `scores[video]`."""
    return one_question_per_video({column: scores for column in viubench.COLUMNS})


def width(row: dict[str, dict[str, list[float]]], name: str) -> float:
    low, high = row["ci95"][name]
    return high - low


def test_overall_is_the_mean_of_the_columns_not_of_the_questions() -> None:
    scores = {column: [0.0] * 2 for column in viubench.COLUMNS} | {"mirror": [1.0] * 50}
    row = viubench.summarise(one_question_per_video(scores), **QUICK)
    assert row["mirror"] == 100
    assert row["overall"] == pytest.approx(100 / 9, abs=1e-3)
    assert row["n"] == 66 and row["videos"] == 50


def test_a_task_is_the_mean_of_its_columns_in_a_row_and_in_a_gain() -> None:
    scores = {column: [0.0, 1.0] * 4 for column in viubench.COLUMNS}
    better = scores | {"mirror": [1.0] * 8, "counting_hard": [1.0] * 8}
    before, after = one_question_per_video(scores), one_question_per_video(better)
    row, gain = viubench.summarise(after, **QUICK), viubench.gain(before, after, **QUICK)
    assert [row[task] for task in viubench.TASKS] == [75, 60, 50]
    assert [gain["tasks"][task]["mean"] for task in viubench.TASKS] == [25, 10, 0]
    low, high = row["ci95"]["counting"]
    assert low < 75 < high and width(row, "counting") == pytest.approx(width(row, "counting_easy") / 2)
    assert gain["tasks"]["jigsaw"]["ci95"] == [0, 0] < gain["tasks"]["grounding"]["ci95"]


def test_a_column_is_the_mean_over_its_questions_also_when_videos_have_different_numbers_of_them() -> None:
    items = same_in_all_columns([0.0, 1.0]) + [scored_reply("shuffle", 0, 0.0, question) for question in (1, 2)]
    row = viubench.summarise(items, **QUICK)
    assert row["shuffle"] == 25
    assert row["jigsaw_6"] == 50


def test_a_row_holds_the_mean_smooth_reward_of_each_column_and_the_correlation_of_counts() -> None:
    items = [
        replace(item, reply="1,2,4" if item.task == "counting" else item.answer) for item in same_in_all_columns([0])
    ]
    row = viubench.summarise(items, **QUICK)
    assert row["smooth_reward"] == {column: 0.8889 if "counting" in column else 1 for column in viubench.COLUMNS}
    assert row["count_correlation"] == {"counting_easy": 0, "counting_hard": 0}, "one reply follows nothing"


def test_an_unparsable_reply_stays_in_the_denominator() -> None:
    items = same_in_all_columns([1.0, 1.0, 1.0]) + [scored_reply("jigsaw_8", 1, 0.0, question=1, parsed=False)]
    row = viubench.summarise(items, **QUICK)
    assert row["jigsaw_8"] == 75
    assert row["unparsed"] == 1 and row["n"] == 28


def test_a_missing_column_is_an_error_and_not_a_smaller_mean() -> None:
    with pytest.raises(ValueError, match="no question of zoom_out"):
        viubench.summarise([item for item in same_in_all_columns([1.0]) if item.variant != "zoom_out"], **QUICK)


def test_intervals_contain_the_mean_and_are_narrower_with_more_videos() -> None:
    rng = np.random.default_rng(3)
    few = viubench.summarise(same_in_all_columns(list(rng.random(10))), **QUICK)
    many = viubench.summarise(same_in_all_columns(list(rng.random(1000))), **QUICK)
    for row in (few, many):
        for name in [*viubench.COLUMNS, "overall"]:
            assert row["ci95"][name][0] <= row[name] <= row["ci95"][name][1]
    assert width(many, "mirror") < width(few, "mirror") / 4


def test_the_interval_of_independent_videos_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(5).random(400)
    row = viubench.summarise(same_in_all_columns(list(values)), bootstrap_samples=4000, seed=1)
    expected = 2 * 1.96 * 100 * values.std() / np.sqrt(len(values))
    assert width(row, "mirror") == pytest.approx(expected, rel=0.08)


def test_ten_questions_with_equal_scores_about_each_video_give_the_interval_of_one() -> None:
    scores = [float(video % 2) for video in range(40)]
    single = viubench.summarise(same_in_all_columns(scores), **QUICK)
    tenfold = [scored_reply(c, v, s, q) for c in viubench.COLUMNS for v, s in enumerate(scores) for q in range(10)]
    assert width(viubench.summarise(tenfold, **QUICK), "mirror") == width(single, "mirror")


@pytest.mark.parametrize("num_videos", [1, MIN_VIDEOS - 1])
def test_too_few_videos_give_the_whole_range_even_if_all_scores_agree(num_videos: int) -> None:
    row = viubench.summarise(same_in_all_columns([1.0] * num_videos), **QUICK)
    assert row["ci95"]["overall"] == [0, 100]
    gain = viubench.gain(same_in_all_columns([0.0] * num_videos), same_in_all_columns([1.0] * num_videos), **QUICK)
    assert gain["overall"] == 100 and gain["ci95"] == [-100, 100]
    assert not gain["significant"]


def test_a_column_that_a_resample_misses_does_not_break_the_interval() -> None:
    scores = {column: [0.5] for column in viubench.COLUMNS} | {"mirror": [0.0, 0.0, 1.0] * 3}
    row = viubench.summarise(one_question_per_video(scores), **QUICK)
    assert row["ci95"]["jigsaw_6"] == [50, 50]
    assert np.isfinite(row["ci95"]["overall"]).all()


def test_the_same_seed_gives_the_same_interval_for_any_order_of_the_questions() -> None:
    items = same_in_all_columns(list(np.random.default_rng(0).random(20)))
    assert viubench.summarise(items, **QUICK) == viubench.summarise(items[::-1], **QUICK)


def test_the_same_small_gain_on_every_question_is_significant_because_questions_are_paired() -> None:
    """The intervals of the two rows are wide and overlap; the interval of the paired difference is narrow."""
    before = np.random.default_rng(1).random(30) * 0.9
    gain = viubench.gain(same_in_all_columns(list(before)), same_in_all_columns(list(before + 0.02)), **QUICK)
    assert gain["overall"] == pytest.approx(2, abs=1e-3)
    assert gain["significant"] and gain["ci95"][0] > 0
    assert gain["columns"]["mirror"]["mean"] == pytest.approx(2, abs=1e-3)


def test_a_difference_by_chance_is_not_significant() -> None:
    rng = np.random.default_rng(2)
    gain = viubench.gain(same_in_all_columns(list(rng.random(30))), same_in_all_columns(list(rng.random(30))), **QUICK)
    assert not gain["significant"]
    assert gain["ci95"][0] < 0 < gain["ci95"][1]


def test_a_loss_on_every_question_is_significant_and_negative() -> None:
    gain = viubench.gain(same_in_all_columns([0.8] * 8), same_in_all_columns([0.2] * 8), **QUICK)
    assert gain["significant"] and gain["ci95"][1] < 0


def test_the_windows_of_a_source_video_are_one_observation() -> None:
    scores = [0.2, 0.4, 0.9, 0.1, 0.5, 0.7, 0.3, 0.8]
    whole = [scored_reply(column, video, score) for column in viubench.COLUMNS for video, score in enumerate(scores)]
    windows = [
        replace(item, video_id=window_of(int(item.video_id[5:]), window)) for item in whole for window in range(5)
    ]
    row, expected = viubench.summarise(windows, **QUICK), viubench.summarise(whole, **QUICK)
    assert row["videos"] == expected["videos"] == 8
    assert row["ci95"] == expected["ci95"]


def test_a_gain_needs_the_same_questions() -> None:
    with pytest.raises(ValueError, match="same questions"):
        viubench.gain(same_in_all_columns([0.5, 0.5]), same_in_all_columns([0.5]), **QUICK)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_every_interval_is_ordered_and_within_0_to_100_percent(scores: list[float]) -> None:
    row = viubench.summarise(same_in_all_columns(scores), bootstrap_samples=100, seed=0)
    for name in [*viubench.COLUMNS, "overall"]:
        low, high = row["ci95"][name]
        assert -1e-3 <= low <= high <= 100.001
        assert row[name] == pytest.approx(100 * np.mean(scores), abs=1e-3)


def test_results_hold_columns_rows_and_gain(tmp_path: Path) -> None:
    rows = {
        name: viubench.summarise(same_in_all_columns([0.2, 0.4]), **QUICK) for name in ("random", "before", "after")
    }
    path = tmp_path / "reports" / "viubench.json"
    viubench.write_results(
        path, rows, viubench.gain(same_in_all_columns([0.2]), same_in_all_columns([0.4]), **QUICK), {"dtype": "float32"}
    )
    written = json.loads(path.read_text())
    assert written["columns"] == list(viubench.COLUMNS)
    assert written["rows"] == rows
    assert written["gain"]["overall"] == 20
    assert [item.name for item in path.parent.iterdir()] == ["viubench.json"]


def test_each_row_of_the_papers_table_has_the_mean_of_its_columns() -> None:
    table = viubench.paper_table()
    assert len(table["rows"]) == 13
    for model, row in table["rows"].items():
        # Printed columns are rounded: the mean of one row (Seed1.5-VL) differs by 0.1 from the printed one.
        assert np.mean([row[name] for name in viubench.COLUMNS]) == pytest.approx(row["overall"], abs=0.11), model
