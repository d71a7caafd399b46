"""Intervals over videos: their coverage, their bounds with too few videos, and questions that share a video."""

import numpy as np
import pytest

from videossr.evaluation.intervals import MIN_VIDEOS, VideoScores, bootstrap_intervals, student_interval

FULL_RANGE = (-1.0, 1.0)


def one_question_per_video(values: list[float]) -> VideoScores:
    return VideoScores(np.array([values]), np.ones((1, len(values))))


def bootstrap(scores: VideoScores, num_resamples: int = 400) -> np.ndarray:  # type: ignore[type-arg]
    return bootstrap_intervals(scores, num_resamples=num_resamples, seed=0, value_range=FULL_RANGE)


def test_column_means_weight_all_questions_equally() -> None:
    scores = VideoScores(np.array([[1.0, 0.0]]), np.array([[1.0, 3.0]]))
    assert scores.column_means(np.ones((1, 2))).tolist() == [[0.25]]
    assert np.isnan(VideoScores(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])).column_means(np.array([[0, 1]]))).all()


@pytest.mark.parametrize("num_videos", [1, MIN_VIDEOS - 1])
def test_with_too_few_videos_both_intervals_are_the_whole_range(num_videos: int) -> None:
    values = [0.5] * num_videos
    videos = [f"video{i}" for i in range(num_videos)]
    assert bootstrap(one_question_per_video(values)).tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert student_interval(np.array(values), videos, level=0.95, value_range=FULL_RANGE) == FULL_RANGE


def test_with_many_videos_both_intervals_agree_with_the_normal_approximation() -> None:
    values = np.random.default_rng(5).random(400)
    videos = [f"video{i}" for i in range(400)]
    low, high = student_interval(values, videos, level=0.95, value_range=FULL_RANGE)
    intervals = bootstrap(one_question_per_video(values.tolist()), num_resamples=4000)
    expected = 2 * 1.96 * values.std() / np.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.02)
    assert intervals[1] - intervals[0] == pytest.approx(expected, rel=0.08)


def test_repeated_questions_about_one_video_do_not_narrow_an_interval() -> None:
    values = np.random.default_rng(1).random(12)
    videos = [f"video{i}" for i in range(12)]
    single = student_interval(values, videos, level=0.95, value_range=FULL_RANGE)
    tenfold = student_interval(np.tile(values, 10), videos * 10, level=0.95, value_range=FULL_RANGE)
    assert tenfold == pytest.approx(single)
    scores = one_question_per_video(values.tolist())
    assert bootstrap(VideoScores(10 * scores.sums, 10 * scores.counts)) == pytest.approx(bootstrap(scores))


def test_students_interval_lies_above_zero_by_chance_as_rarely_as_its_level_says() -> None:
    rng = np.random.default_rng(0)
    videos = [f"video{place % 7}" for place in range(140)]
    false_alarms = 0
    for _ in range(400):
        gains = np.tile(rng.normal(0, 0.05, 7), 20) + rng.normal(0, 0.2, 140)
        false_alarms += student_interval(gains, videos, level=0.9975, value_range=FULL_RANGE)[0] > 0
    assert false_alarms <= 3  # 0.5 are expected: the level leaves 1 in 800 above zero
