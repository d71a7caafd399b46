"""The rewards of the three tasks: equal to the published ones, with a score in 0..1 for any reply."""

import ast
import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videossr import rewards

GOLDEN = [json.loads(line) for line in (Path(__file__).parent / "golden" / "rewards.jsonl").read_text().splitlines()]
ANSWERS = {"grounding": "12.3-20.0", "counting": "3,0,7", "jigsaw": "314265"}


@pytest.mark.parametrize("task", rewards.TASK_NAMES)
def test_the_smooth_rewards_equal_the_published_ones(task: str) -> None:
    rows = [row for row in GOLDEN if row["task"] == task]
    assert len(rows) == 1000
    for row in rows:
        assert rewards.score(task, row["completion"], row["answer"]) == pytest.approx(row["reward"], abs=1e-9), row


@pytest.mark.parametrize("task", rewards.TASK_NAMES)
@pytest.mark.parametrize("rule", [rewards.score, rewards.strict, rewards.metric])
def test_the_answer_itself_is_right_by_every_rule(task: str, rule) -> None:
    assert rule(task, ANSWERS[task], ANSWERS[task]) == 1.0
    assert rule(task, f" {ANSWERS[task]}\n", ANSWERS[task]) == 1.0


@pytest.mark.parametrize(
    ("task", "reply", "answer", "smooth", "all_or_nothing", "metric"),
    [
        ("grounding", "10-20", "10.0-18.0", 0.8, 1.0, 0.8),
        ("grounding", "10-20", "16.0-26.0", 0.25, 0.0, 0.25),
        ("counting", "4,2,1", "4,4,1", 5 / 6, 0.0, 2 / 3),
        ("counting", "0,0,0", "0,0,9", 2 / 3, 0.0, 2 / 3),
        ("jigsaw", "213456", "123456", 1 - 2 / 18, 0.0, 0.0),
        ("jigsaw", "654321", "123456", 0.0, 0.0, 0.0),
    ],
)
def test_the_three_rules_differ_where_a_reply_is_half_right(
    task: str, reply: str, answer: str, smooth: float, all_or_nothing: float, metric: float
) -> None:
    assert rewards.score(task, reply, answer) == pytest.approx(smooth)
    assert rewards.strict(task, reply, answer) == all_or_nothing
    assert rewards.metric(task, reply, answer) == pytest.approx(metric)


def test_the_overlap_that_strict_requires_is_an_argument() -> None:
    assert rewards.strict("grounding", "10-20", "10.0-18.0", iou_threshold=0.9) == 0.0


@pytest.mark.parametrize(
    ("task", "reply"),
    [
        ("grounding", "from 3.0 to 5.0"),
        ("grounding", "3.0-5.0 seconds"),
        ("grounding", "1.2.3-4"),
        ("grounding", "-3-5"),
        ("counting", "3,4"),
        ("counting", "1,2,3,4"),
        ("jigsaw", "3 1 4 2 6 5"),
        ("jigsaw", "31426"),
        ("jigsaw", "3142655"),
        ("jigsaw", "³14265"),
    ],
)
def test_a_reply_of_another_form_is_not_parsed_and_scores_zero(task: str, reply: str) -> None:
    assert not rewards.parsed(task, reply, ANSWERS[task])
    assert rewards.score(task, reply, ANSWERS[task]) == 0.0


@pytest.mark.parametrize(("task", "reply"), [("grounding", "9-3"), ("counting", "0,0,0"), ("jigsaw", "654321")])
def test_a_wrong_reply_in_the_right_form_is_parsed(task: str, reply: str) -> None:
    assert rewards.parsed(task, reply, ANSWERS[task])


@given(st.sampled_from(rewards.TASK_NAMES), st.one_of(st.text(), st.text("0123456789-.,\n ", max_size=40)))
@example("counting", "9" * 5000 + ",1,1")
@example("grounding", "0-" + "9" * 5000)
@example("grounding", "9" * 400 + "-" + "9" * 500)
@example("counting", "٣,٤,٥")
@example("jigsaw", "")
def test_any_reply_has_a_score_in_0_to_1(task: str, reply: str) -> None:
    for rule in (rewards.score, rewards.strict, rewards.metric):
        value = rule(task, reply, ANSWERS[task])
        assert 0.0 <= value <= 1.0
        assert value == 0.0 or rewards.parsed(task, reply, ANSWERS[task])


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("grounding", "12.3"),
        ("grounding", "5.0-5.0"),
        ("grounding", "7.0-5.0"),
        ("counting", "1,2"),
        ("counting", "1,2,-3"),
        ("jigsaw", "1"),
        ("jigsaw", "1224"),
        ("jigsaw", ""),
    ],
)
def test_a_malformed_answer_is_our_fault_and_raises(task: str, answer: str) -> None:
    with pytest.raises(ValueError, match="answer must be"):
        rewards.score(task, "1", answer)


def test_the_error_for_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="grounding, counting, jigsaw, got 'shuffled'"):
        rewards.score("shuffled", "1", "1")


def test_the_rewards_import_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(rewards.__file__).read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert modules
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
