"""Blind answerers: what can be scored without looking, and that our questions leave no more than the paper's."""

from dataclasses import replace

import numpy as np
import pytest

from videossr.dataset.build import build_viubench
from videossr.dataset.params import VIUBENCH, BenchSet, PretextParams
from videossr.evaluation import baselines, viubench
from videossr.evaluation.runner import score_reply
from videossr.evaluation.viubench import COLUMNS
from videossr.records import FrameTimes, Sample, ScoredReply

# The paper's parameters: 48 frames shown of 48 stored; lengths and paces differ from video to video.
PARAMS = PretextParams(seed=3, viubench=BenchSet(per_column=300))
TASKS = PARAMS.tasks


def footage(count: int, seed: int) -> list[FrameTimes]:
    rng = np.random.default_rng(seed)
    clocks = [np.cumsum(rng.uniform(0.7, 1.3, 48)) * rng.uniform(0.1, 4) for _ in range(count)]
    return [FrameTimes(f"{seed}-{i:04d}", tuple(map(float, clock - clock[0]))) for i, clock in enumerate(clocks)]


TRAIN, BENCH = footage(400, seed=1), footage(400, seed=2)


@pytest.fixture(scope="module")
def questions() -> list[Sample]:
    return build_viubench(PARAMS, BENCH)


def judged(samples: list[Sample], replies: list[str]) -> list[ScoredReply]:
    return [score_reply(sample, reply) for sample, reply in zip(samples, replies, strict=True)]


def summary(samples: list[Sample], replies: list[str]) -> dict[str, float]:
    return viubench.summarise(judged(samples, replies), bootstrap_samples=500, seed=0)


def test_the_random_guess_reproduces_the_papers_row_within_sampling_error(questions: list[Sample]) -> None:
    row = summary(questions, baselines.random_answers(questions, BENCH, seed=0))
    paper = viubench.paper_table()["rows"]["Random guess"]
    # Standard errors of 300 questions, ours and the paper's: three guesses of 1/9 and 1/16; lengths uniform in 8..16.
    errors = {"counting_easy": 1.05, "counting_hard": 0.81, "jigsaw_6": 0.22, "jigsaw_8": 0.03}
    for column in COLUMNS:
        assert abs(row[column] - paper[column]) <= 3.3 * errors.get(column, 0.31) * np.sqrt(2) + 0.1, column
    assert row["overall"] == pytest.approx(paper["overall"], abs=0.8)
    assert row["unparsed"] == 0 and row["n"] == 2700


def test_the_random_guess_has_the_expectation_it_is_defined_by() -> None:
    """Thousands of guesses: 1/9, 1/16 and 1/720 within four standard errors, and E[length] / 48 = 25 %."""
    expected = (
        ("counting", "easy", 2_000, 1 / 9),
        ("counting", "hard", 2_000, 1 / 16),
        ("jigsaw", "6", 8_000, 1 / 720),
    )
    for task, variant, count, chance in expected:
        samples = many(task, variant, count)
        scores = [item.score for item in judged(samples, baselines.random_answers(samples, BENCH, seed=5))]
        guesses = len(scores) * (3 if task == "counting" else 1)
        assert abs(np.mean(scores) - chance) < 4 * np.sqrt(chance / guesses), variant
    samples = many("grounding", "mirror", 2_000)
    even = [FrameTimes(item.video_id, tuple(map(float, range(48)))) for item in BENCH]
    samples = [replace(s, answer=TASKS["grounding"].answer(s.edit, even[0].times)) for s in samples]
    scores = [item.score for item in judged(samples, baselines.random_answers(samples, even, seed=5))]
    assert np.mean(scores) == pytest.approx(12 / 48, abs=4 * 0.054 / np.sqrt(2_000))


def test_the_columns_are_those_the_data_set_is_built_for() -> None:
    assert [f"{task}/{variant}" for task, variant in COLUMNS.values()] == list(VIUBENCH)


def test_a_random_guess_depends_on_seed_and_sample_alone(questions: list[Sample]) -> None:
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


def test_the_constant_is_one_answer_a_column_and_the_same_fractions_of_every_clip(questions: list[Sample]) -> None:
    examples = baselines.training_examples([], TRAIN, TASKS, seed=0)
    replies = baselines.constant_answers(questions, examples, BENCH + TRAIN)
    said: dict[tuple[str, str], set[str]] = {}
    for sample, reply in zip(questions, replies, strict=True):
        if sample.task != "grounding":
            said.setdefault((sample.task, sample.variant), set()).add(reply)
    assert all(len(texts) == 1 for texts in said.values()) and len(said) == 4


def test_the_constant_counts_are_the_commonest_of_each_shape() -> None:
    base = many("counting", "easy", 5)
    answers = ["1,2,3", "1,2,4", "1,5,4", "6,5,4", "6,5,9"]
    examples = [replace(sample, answer=answer) for sample, answer in zip(base, answers, strict=True)]
    assert baselines.constant_answers(base[:1], examples, BENCH) == ["1,5,4"]


def test_the_constant_interval_is_the_best_of_all_on_the_grid() -> None:
    examples = many("grounding", "mirror", 40)
    chosen = baselines.constant_answers(examples, examples, BENCH)
    best = np.mean([item.score for item in judged(examples, chosen)])
    clocks = {item.video_id: item.times for item in BENCH}
    for first in range(0, 48, 3):
        for last in range(first + 3, 49, 3):
            others = [baselines._format_answer((first / 48, last / 48), sample, clocks) for sample in examples]
            assert np.mean([item.score for item in judged(examples, others)]) <= best + 0.004


def test_training_samples_come_first_and_only_what_lacks_is_generated() -> None:
    mine = [replace(sample, sample_id=f"train-{i}") for i, sample in enumerate(many("grounding", "mirror", 500))]
    examples = baselines.training_examples(mine, TRAIN, TASKS, seed=0)
    by_column = [[e for e in examples if (e.task, e.variant) == column] for column in COLUMNS.values()]
    assert [len(rows) for rows in by_column] == [500 if c == "mirror" else 300 for c in COLUMNS]
    assert by_column[list(COLUMNS).index("mirror")] == mine
    assert {e.video_id for e in examples if not e.sample_id} <= {item.video_id for item in TRAIN}


def many(task: str, variant: str, count: int) -> list[Sample]:
    """Samples of one column on the benchmark's videos, straight from the task."""
    rng = np.random.default_rng(17)
    return [
        replace(TASKS[task].generate(BENCH[i % len(BENCH)], variant, rng), sample_id=f"{task}-{variant}-{i}")
        for i in range(count)
    ]
