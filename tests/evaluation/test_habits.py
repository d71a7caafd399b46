"""Replies that are one constant, counts that do not follow the truth, and the mean smooth reward."""

from dataclasses import replace

import numpy as np
import pytest

from videossr import rewards
from videossr.evaluation.habits import collapsed_reply, count_correlation, mean_smooth_reward
from videossr.records import ScoredReply


def scored(replies, answers, task="counting", variant="easy"):
    return [
        ScoredReply(f"s{i}", task, variant, f"v{i}", answer, reply, rewards.parsed(task, reply, answer), 0.0)
        for i, (reply, answer) in enumerate(zip(replies, answers, strict=True))
    ]


ANSWERS = [",".join(map(str, row)) for row in np.random.default_rng(0).integers(1, 9, (200, 3))]


def test_counts_that_follow_the_truth_correlate_and_a_constant_does_not():
    assert count_correlation(scored(ANSWERS, ANSWERS)) == pytest.approx(1)
    doubled = [",".join(str(2 * int(count)) for count in answer.split(",")) for answer in ANSWERS]
    assert count_correlation(scored(doubled, ANSWERS)) == pytest.approx(1), "an order, not a size"
    assert count_correlation(scored(["3,3,3"] * 200, ANSWERS)) == 0
    assert abs(count_correlation(scored(ANSWERS[::-1], ANSWERS))) < 0.15
    one_shape = [f"{answer.split(',')[0]},3,3" for answer in ANSWERS]
    assert count_correlation(scored(one_shape, ANSWERS)) == pytest.approx(1 / 3)


def test_replies_that_do_not_parse_are_left_out_of_the_correlation():
    assert count_correlation(scored([*ANSWERS[:100], *["many"] * 100], ANSWERS)) == pytest.approx(1)
    assert count_correlation(scored(["many"] * 200, ANSWERS)) == 0


def test_replies_have_collapsed_where_one_text_answers_most_questions_of_different_answers():
    assert collapsed_reply(scored(["3,3,3"] * 170 + ANSWERS[170:], ANSWERS)) == ("3,3,3", pytest.approx(0.85))
    assert collapsed_reply(scored(["3,3,3"] * 150 + ANSWERS[150:], ANSWERS)) is None
    assert collapsed_reply(scored(["1,1,1"] * 10, ["1,1,1"] * 10)) is None, "one right answer is no habit"


def test_the_mean_smooth_reward_is_that_of_the_rewards():
    half = scored(["1,2,3", "none"], ["1,2,3", "1,2,3"])
    assert mean_smooth_reward(half) == pytest.approx(0.5)
    near = [replace(item, reply="2134", answer="2143", task="jigsaw") for item in half[:1]]
    assert mean_smooth_reward(near) == rewards.score("jigsaw", "2134", "2143") > 0
