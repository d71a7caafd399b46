"""The random guess and the best constant answer; the random guess scores as in the paper."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from videossr.dataset.build import build_viubench
from videossr.dataset.params import VIUBENCH, BenchSet, PretextParams
from videossr.evaluation import baselines, viubench
from videossr.evaluation.runner import score_reply
from videossr.evaluation.viubench import COLUMNS
from videossr.records import FrameTimes, Sample, ScoredReply

# The paper's parameters: 48 frames shown of 48 stored. Durations and frame steps differ from video to video.
PARAMS = PretextParams(seed=3, viubench=BenchSet(per_column=300))
TASKS = PARAMS.tasks


def random_videos(count: int, seed: int) -> list[FrameTimes]:
    rng = np.random.default_rng(seed)
    times = [np.cumsum(rng.uniform(0.7, 1.3, 48)) * rng.uniform(0.1, 4) for _ in range(count)]
    return [FrameTimes(f"{seed}-{i:04d}", tuple(map(float, one - one[0]))) for i, one in enumerate(times)]


TRAIN, BENCH = random_videos(400, seed=1), random_videos(400, seed=2)


@pytest.fixture(scope="module")
def questions() -> list[Sample]:
    return build_viubench(PARAMS, BENCH)


def score_replies(samples: list[Sample], replies: list[str]) -> list[ScoredReply]:
    return [score_reply(sample, reply) for sample, reply in zip(samples, replies, strict=True)]


def summary(samples: list[Sample], replies: list[str]) -> dict[str, float]:
    return viubench.summarise(score_replies(samples, replies), bootstrap_samples=500, seed=0)


def test_the_random_guess_reproduces_the_papers_row_within_sampling_error(questions: list[Sample]) -> None:
    row = summary(questions, baselines.random_answers(questions, BENCH, seed=0))
    paper = viubench.paper_table()["rows"]["Random guess"]
    # Standard errors of 300 questions, ours and the paper's: three guesses of 1/9 and 1/16; lengths uniform in 8..16.
    errors = {"counting_easy": 1.05, "counting_hard": 0.81, "jigsaw_6": 0.22, "jigsaw_8": 0.03}
    for column in COLUMNS:
        assert abs(row[column] - paper[column]) <= 3.3 * errors.get(column, 0.31) * np.sqrt(2) + 0.1, column
    assert row["overall"] == pytest.approx(paper["overall"], abs=0.8)
    assert row["unparsed"] == 0 and row["n"] == 2700


def test_the_mean_score_of_many_random_guesses_is_the_expected_one() -> None:
    """Thousands of guesses: 1/9, 1/16 and 1/720 within four standard errors, and E[length] / 48 = 25 %."""
    expected = (
        ("counting", "easy", 2_000, 1 / 9),
        ("counting", "hard", 2_000, 1 / 16),
        ("jigsaw", "6", 8_000, 1 / 720),
    )
    for task, variant, count, chance in expected:
        samples = generate_samples(task, variant, count)
        scores = [item.score for item in score_replies(samples, baselines.random_answers(samples, BENCH, seed=5))]
        guesses = len(scores) * (3 if task == "counting" else 1)
        assert abs(np.mean(scores) - chance) < 4 * np.sqrt(chance / guesses), variant
    samples = generate_samples("grounding", "mirror", 2_000)
    even = [FrameTimes(video.video_id, tuple(map(float, range(48)))) for video in BENCH]
    samples = [replace(s, answer=TASKS["grounding"].answer(s.edit, even[0].times)) for s in samples]
    scores = [item.score for item in score_replies(samples, baselines.random_answers(samples, even, seed=5))]
    assert np.mean(scores) == pytest.approx(12 / 48, abs=4 * 0.054 / np.sqrt(2_000))


def test_the_columns_are_the_kinds_that_the_data_set_holds() -> None:
    assert [f"{task}/{variant}" for task, variant in COLUMNS.values()] == list(VIUBENCH)


def test_a_random_guess_depends_only_on_seed_and_sample(questions: list[Sample]) -> None:
    replies = baselines.random_answers(questions, BENCH, seed=0)
    assert baselines.random_answers(questions[::-1], BENCH, seed=0) == replies[::-1]
    assert baselines.random_answers(questions, BENCH, seed=1) != replies


def test_the_best_constant_beats_the_random_guess_and_scores_about_31_on_intervals(questions: list[Sample]) -> None:
    examples = baselines.training_examples([], TRAIN, TASKS, seed=0)
    row = summary(questions, baselines.constant_answers(questions, examples, BENCH + TRAIN))
    random = summary(questions, baselines.random_answers(questions, BENCH, seed=0))
    grounding = np.mean([row[column] for column, (task, _) in COLUMNS.items() if task == "grounding"])
    assert 28.5 < grounding < 33
    assert row["overall"] > random["overall"] + 4


def test_the_constant_reply_is_the_same_for_all_questions_of_a_column_except_intervals(questions: list[Sample]) -> None:
    examples = baselines.training_examples([], TRAIN, TASKS, seed=0)
    replies = baselines.constant_answers(questions, examples, BENCH + TRAIN)
    by_kind: dict[str, set[str]] = defaultdict(set)
    for sample, reply in zip(questions, replies, strict=True):
        if sample.task != "grounding":
            by_kind[sample.kind].add(reply)
    assert all(len(distinct) == 1 for distinct in by_kind.values()) and len(by_kind) == 4


def test_the_constant_counts_are_the_most_frequent_of_each_shape() -> None:
    samples = generate_samples("counting", "easy", 5)
    answers = ["1,2,3", "1,2,4", "1,5,4", "6,5,4", "6,5,9"]
    examples = [replace(sample, answer=answer) for sample, answer in zip(samples, answers, strict=True)]
    assert baselines.constant_answers(samples[:1], examples, BENCH) == ["1,5,4"]


def test_no_interval_on_the_grid_beats_the_constant_one() -> None:
    examples = generate_samples("grounding", "mirror", 40)
    chosen = baselines.constant_answers(examples, examples, BENCH)
    best = np.mean([item.score for item in score_replies(examples, chosen)])
    times = {video.video_id: video.times for video in BENCH}
    for first in range(0, 48, 3):
        for last in range(first + 3, 49, 3):
            others = [baselines._format_answer((first / 48, last / 48), sample, times) for sample in examples]
            assert np.mean([item.score for item in score_replies(examples, others)]) <= best + 0.004


def test_examples_are_the_training_samples_and_as_many_generated_ones_as_are_missing() -> None:
    train = [
        replace(sample, sample_id=f"train-{i}") for i, sample in enumerate(generate_samples("grounding", "mirror", 500))
    ]
    examples = baselines.training_examples(train, TRAIN, TASKS, seed=0)
    by_column = [[e for e in examples if (e.task, e.variant) == column] for column in COLUMNS.values()]
    assert [len(rows) for rows in by_column] == [500 if c == "mirror" else 300 for c in COLUMNS]
    assert by_column[list(COLUMNS).index("mirror")] == train
    assert {e.video_id for e in examples if not e.sample_id} <= {video.video_id for video in TRAIN}


def generate_samples(task: str, variant: str, count: int) -> list[Sample]:
    """Samples of one column on the benchmark videos, generated by the task without the data set."""
    rng = np.random.default_rng(17)
    return [
        replace(TASKS[task].generate(BENCH[i % len(BENCH)], variant, rng), sample_id=f"{task}-{variant}-{i}")
        for i in range(count)
    ]
