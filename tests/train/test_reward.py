"""Rewards: scored once a completion, logged by task, and compared within a group."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from tests.support import tiny_policy, tiny_training
from videossr.errors import ConfigError
from videossr.models.policy import Prompt
from videossr.records import Sample
from videossr.train.build_trainer import build_trainer
from videossr.train.params import TrainParams
from videossr.train.prompt_builder import EncodedSample
from videossr.train.reward import completion_scorer, reward_function
from videossr.train.rollout import RolloutGroup

SAMPLES = {sample.task: sample for sample in tiny_policy.samples(8)}


def sample(task, answer, variant="easy"):
    return Sample("s", task, variant, "v", {}, "<video>?", answer)


def group(task: str, answer: str, texts: list[str], token_counts: list[int], floor: float) -> RolloutGroup:
    """A scored group; the reward function reads everything but its prompt."""
    asked = replace(SAMPLES[task], answer=answer)
    scores = [completion_scorer(TrainParams())(asked, text) for text in texts]
    return RolloutGroup(EncodedSample(asked, None), [[1] * count for count in token_counts], scores, floor)


def test_rewards_are_logged_by_task_and_by_group():
    groups = [
        group("counting", "1,2,3", ["1,2,3", "1,2,3"], [5, 6], 0.5),
        group("jigsaw", "2143", ["2143", "nonsense"], [4, 8], 0.2),
    ]
    rows = [row for one in groups for row in one.rows()]
    logged = defaultdict(list)
    rewards = reward_function(group_size=2)(
        **{name: [row[name] for row in rows] for name in rows[0]},
        completion_ids=[ids for one in groups for ids in one.completions],
        log_metric=lambda name, value: logged[name].append(value),
    )
    means = {name: sum(values) / len(values) for name, values in logged.items()}
    assert rewards == pytest.approx([1, 1, 1, 0])
    assert means["zero_variance/counting"] == 1 and means["zero_variance/jigsaw"] == 0
    assert means["parsed/jigsaw"] == 0.5
    assert means["skill/counting"] == pytest.approx(1)
    assert means["skill/jigsaw"] == pytest.approx((0.5 - 0.2) / 0.8), "above the floor of the level of the curriculum"
    assert means["length/counting"] == 5.5 and means["length/jigsaw"] == 6


def test_a_task_that_a_constant_answer_solves_has_no_skill():
    rows = group("counting", "1,1,1", ["1,1,1", "2,2,2"], [5, 5], 1.0).rows()
    logged = []
    reward_function(group_size=2)(
        **{name: [row[name] for row in rows] for name in rows[0]},
        completion_ids=[[1], [1]],
        log_metric=lambda name, value: logged.append(name),
    )
    assert "reward/counting" in logged and "skill/counting" not in logged


def test_the_metric_as_a_reward_is_that_of_the_benchmark():
    score = completion_scorer(TrainParams(reward="metric"))
    assert score(sample("counting", "1,2,3"), "1,2,4").reward == pytest.approx(2 / 3)
    assert score(sample("jigsaw", "2143"), "2134").reward == 0 < score(sample("jigsaw", "2143"), "2134").smooth
    assert score(sample("grounding", "1.0-2.0"), "1.0-3.0").reward == pytest.approx(0.5)


def test_the_reward_of_a_kind_goes_before_that_of_its_task():
    params = TrainParams(reward_by_task={"jigsaw": "smooth", "jigsaw/6": "metric"})
    orders = [completion_scorer(params)(sample("jigsaw", "214365", v), "213465").reward for v in ("6", "8")]
    assert orders == [0, pytest.approx(1 - 2 / 18)]


@pytest.mark.parametrize("kind", ["juggling", "jigsaw/5"])
def test_a_reward_for_an_unknown_kind_is_refused(kind):
    with pytest.raises(ConfigError, match=f"unknown kind '{kind}'"):
        TrainParams(reward_by_task={kind: "strict"})


def test_a_strict_reward_is_all_or_nothing_and_the_smooth_one_is_kept_beside_it():
    score = completion_scorer(TrainParams(reward_by_task={"counting": "strict"}))
    near = score(sample("counting", "1,2,3"), "1,2,4")
    assert near.reward == 0 and 0 < near.smooth < 1 and near.is_parsed
    assert score(sample("jigsaw", "21"), "21").reward == 1
    assert not score(sample("counting", "1,2,3"), "many").is_parsed


def test_a_completion_is_scored_once_whatever_the_run_does_with_its_score(tmp_path):
    """With dynamic sampling, a running scale and a curriculum, which all read scores."""
    start = tiny_training.warm()
    params = tiny_training.changed(start, {"steps": 2, "refill_rounds": 1, "running_task_scale": True})
    (tmp_path / "work").mkdir()
    trainer = build_trainer(
        params,
        tiny_training.COUNTING,
        lambda sample: Prompt(
            sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips()))
        ),
        params.policy,
        tmp_path / "work",
        "key",
        None,
        lambda metrics, step: None,
    )
    calls, completions = Counter(), Counter()
    score, roll_out = trainer._scorer, trainer._roll_out

    def counted_score(asked, completion):
        calls[completion, asked.answer] += 1
        return score(asked, completion)

    def counted_roll_out(prompts, seeds):
        groups = roll_out(prompts, seeds)
        completions["all"] += sum(len(one) for one in groups)
        return groups

    trainer._scorer, trainer._roll_out = counted_score, counted_roll_out
    trainer.train()
    assert sum(calls.values()) == completions["all"] >= 2 * params.grpo.prompts_per_step * params.grpo.group_size
