"""Signal, not noise: groups that teach nothing cost nothing, others take their place, difficulty follows the policy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support import tiny_policy, tiny_training
from videossr.errors import ConfigError
from videossr.models.policy import Prompt
from videossr.records import FrameTimes
from videossr.train.build_trainer import build_trainer
from videossr.train.curriculum import Curriculum, TaskScale
from videossr.train.params import CurriculumParams, Level
from videossr.train.token_metrics import TokenMetrics

SAMPLES = tiny_policy.samples(64)
LADDER = {
    "grounding": (
        Level({"min_length": 4, "max_length": 4}),
        Level({"min_length": 2, "max_length": 2, "strength": 0.5}),
    ),
    "jigsaw": (Level(variant="8"), Level(variant="8", settings={"frames_per_clip_8": 2})),
    "counting": (
        Level({"easy_max_frames": 1, "easy_max_instances": 2}),
        Level({"easy_max_frames": 2}),
        Level(variant="hard"),
    ),
}


@pytest.fixture(scope="module")
def start():
    return tiny_training.warm()


def footage(video_id):
    return FrameTimes(video_id, tuple(tiny_policy.clips()[video_id].times.tolist()))


def curriculum(**params):
    return Curriculum(CurriculumParams(LADDER, **params), tiny_policy.TASKS, SAMPLES, footage, seed=0)


def passes_of_loss(params, folder):
    """Train, and count the forward passes that scored completions with a gradient."""
    counted = []
    (folder / "work").mkdir(parents=True)

    trainer = build_trainer(
        params, tiny_training.COUNTING, render, params.policy, folder / "work", "key", None, lambda *_: None
    )
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: counted.append(1) if torch.is_grad_enabled() else None, with_kwargs=True
    )
    trainer.train()
    return len(counted), trainer.model.state_dict()


def render(sample):

    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo"])
def test_groups_without_variance_are_not_computed_and_the_step_is_the_same(start, tmp_path, loss_type):
    grpo = {"prompts_per_forward": 1, "loss_type": loss_type}
    skipping = tiny_training.changed(start, grpo)
    # A divergence that weighs nothing keeps every group in the forward pass, and changes no gradient.
    computing = tiny_training.changed(start, {**grpo, "kl_coefficient": 1e-30})
    fewer, one = passes_of_loss(skipping, tmp_path / "a")
    every, other = passes_of_loss(computing, tmp_path / "b")
    assert every == tiny_training.GRPO.steps * tiny_training.GRPO.prompts_per_step
    assert 0 < fewer < every
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=2e-5)


def test_a_step_that_teaches_nothing_is_a_step_of_a_zero_gradient(tmp_path):
    mute = tiny_policy.write_tiny(tmp_path / "tiny-random")  # nothing it says parses: every reward is 0
    grpo = {"weight_decay": 0.1}
    fewer, one = passes_of_loss(tiny_training.changed(mute, grpo), tmp_path / "a")
    _, other = passes_of_loss(tiny_training.changed(mute, {**grpo, "kl_coefficient": 1e-30}), tmp_path / "b")
    before = tiny_training.weights(mute)
    assert fewer == 0
    assert any(not torch.equal(before[name], one[name]) for name in one), "the weights must have decayed"
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-7)


def test_groups_without_variance_are_exchanged_a_bounded_number_of_times(start, tmp_path):
    plain = tiny_training.run(tmp_path / "plain", tiny_training.changed(start))
    refilled = tiny_training.run(tmp_path / "refilled", tiny_training.changed(start, {"refill_rounds": 2}))
    again = tiny_training.run(tmp_path / "again", tiny_training.changed(start, {"refill_rounds": 2}))
    assert refilled.grpo == again.grpo
    assert refilled.grpo[0]["zero_variance"] <= plain.grpo[0]["zero_variance"]
    assert max(row["exchanged"] for row in refilled.grpo) > 0


def test_a_policy_that_never_varies_does_not_hold_up_the_refill(tmp_path):
    mute = tiny_policy.write_tiny(tmp_path / "tiny-random")
    report = tiny_training.run(tmp_path, tiny_training.changed(mute, {"refill_rounds": 2, "steps": 1}))
    assert report.grpo[0]["exchanged"] == 0 and report.grpo[0]["zero_variance"] == 1


def test_a_level_is_left_upwards_on_success_and_downwards_without(start):
    lessons = curriculum(window=4)
    lessons.observe([("counting", 1.0)] * 3)
    assert lessons.levels["counting"] == 0, "three groups are no window of four"
    lessons.observe([("counting", 1.0)])
    assert lessons.levels["counting"] == 1
    lessons.observe([("counting", 0.0)] * 4)
    assert lessons.levels["counting"] == 0
    lessons.observe([("counting", 0.0)] * 8)
    assert lessons.levels["counting"] == 0, "there is nothing below the easiest"


def test_success_within_the_band_keeps_the_level():
    lessons = curriculum(window=2)
    floor = lessons.floors["jigsaw"][0]
    lessons.observe([("jigsaw", floor + 0.5 * (1 - floor))] * 6)
    assert lessons.levels["jigsaw"] == 0


def test_a_level_that_a_constant_answer_solves_is_refused():
    with pytest.raises(ConfigError, match=r"levels.counting\[0\] is solved by one constant answer"):
        ladder = {"counting": (Level({"easy_max_frames": 1, "easy_max_instances": 1}), Level())}
        Curriculum(CurriculumParams(ladder), tiny_policy.TASKS, SAMPLES, footage, 0)


def test_a_lesson_is_a_right_puzzle_of_its_level_on_the_same_video():
    lessons = curriculum()
    rng = np.random.default_rng(0)
    for sample in SAMPLES[:8]:
        made = lessons.at_current_level(sample, rng)
        task = tiny_policy.TASKS[sample.task]
        assert (made.video_id, made.sample_id) == (sample.video_id, sample.sample_id)
        assert task.answer(made.edit, tiny_policy.clips()[made.video_id].times) == made.answer
        if sample.task == "grounding":
            assert made.edit["length"] == 4
        if sample.task == "counting":
            assert set(made.answer) <= set("12,")


def test_each_level_has_its_own_blind_floor():
    floors = curriculum().floors["counting"]
    assert floors == sorted(floors, reverse=True)


def test_a_task_without_levels_is_asked_as_it_is():
    lessons = Curriculum(CurriculumParams({"jigsaw": LADDER["jigsaw"]}), tiny_policy.TASKS, SAMPLES, footage, 0)
    assert lessons.at_current_level(SAMPLES[0], np.random.default_rng(0)) is SAMPLES[0]


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (Level({"min_lenght": 2}), r"levels.grounding\[1\] has no parameter 'min_lenght' \(did you mean 'min_length'"),
        (Level(variant="hologram"), r"levels.grounding\[1\] has no variant 'hologram'"),
        (Level({"min_length": 7}), r"levels.grounding\[1\]: .*min_length <= max_length"),
    ],
)
def test_a_level_that_cannot_be_is_one_sentence(level, message):
    ladder = {"grounding": (Level(), level)}
    with pytest.raises(ConfigError, match=message):
        Curriculum(CurriculumParams(ladder), tiny_policy.TASKS, SAMPLES, footage, 0)


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_with_its_curriculum(tmp_path):
    # A policy that says one thing only is now above the blind floor and now below it: it moves between levels.
    parrots = [replace(sample, answer="3,3,3") for sample in tiny_training.COUNTING]
    lesson = replace(tiny_training.PARAMS.warmup, steps=60)
    tiny_training.run(
        tmp_path / "parrot",
        replace(tiny_training.PARAMS, warmup=lesson, grpo=replace(tiny_training.GRPO, steps=1)),
        parrots,
    )
    start = tmp_path / "parrot" / "start"
    ladder = CurriculumParams({"counting": (Level(), *LADDER["counting"][1:])}, target=0.0, band=0.0, window=2)
    params = tiny_training.changed(
        start, {"steps": 5, "learning_rate": 1e-4, "running_task_scale": True, "refill_rounds": 1}, curriculum=ladder
    )
    tiny_training.run(tmp_path / "through", params)

    def stop(metrics, step):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_training.run(tmp_path / "stopped", params, log_metrics=stop)
    tiny_training.run(tmp_path / "stopped", params)
    through, stopped = (tiny_training.curve(tmp_path / name) for name in ("through", "stopped"))
    assert [row == pytest.approx(other, abs=1e-5) for row, other in zip(through, stopped, strict=True)] == [True] * 5
    assert len({row["level/counting"] for row in through}) > 1, "it must have moved for the test to tell"
    assert tiny_training.same_weights(tmp_path / "through" / "policy", tmp_path / "stopped" / "policy")


def test_skill_is_told_above_the_floor_of_the_level_that_was_asked(start, tmp_path):
    (tmp_path / "work").mkdir()
    rows, levels, lessons = [], [2], curriculum(target=0.0, band=0.0, window=2)
    lessons.levels["counting"] = 2  # a policy that hardly counts goes down from here
    params = tiny_training.changed(start, {"steps": 5})

    def log(row, step):
        rows.append(row)

    trainer = build_trainer(
        params, tiny_training.COUNTING, render, params.policy, tmp_path / "work", "key", lessons, log
    )
    trainer.train()
    levels += [int(row["level/counting"]) for row in rows]  # each row tells the level after it
    assert len(set(levels[:-1])) > 1, "it must have moved for the test to tell"
    for level, row in zip(levels, rows, strict=False):
        floor = lessons.floors["counting"][level]
        assert row["skill/counting"] == pytest.approx((row["reward/counting"] - floor) / (1 - floor), abs=1e-6)


def test_means_of_tokens_are_those_of_all_passes_and_processes():
    ones = torch.ones(2, 3)
    means = TokenMetrics(["counting", "grounding", "jigsaw"])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    means.add("kl", ["counting", "jigsaw"], torch.cat([ones, torch.tensor([[0, torch.nan, torch.nan]] * 2)]), mask)
    means.add("kl", ["counting"], 3 * ones, torch.tensor([[1, 0, 0], [0, 0, 0]]))
    means.add("kl", ["jigsaw", "grounding"], torch.nan * mask, mask, [False, False])
    told = means.take(lambda sums: 2 * sums)
    assert told == pytest.approx({"kl/counting": (5 * 1 + 1 * 3) / 6, "kl/jigsaw": 0.0})
    assert means.take(lambda sums: sums) == {}


def told(start, folder, samples=SAMPLES, **grpo):
    return tiny_training.run(folder, tiny_training.changed(start, {"steps": 2, **grpo}), samples).grpo


def test_a_task_alone_has_the_length_divergence_and_entropy_of_the_step(start, tmp_path):
    # In one pass: the means that TRL tells are means over passes.
    for row in told(start, tmp_path, tiny_training.COUNTING, kl_coefficient=1e-3, prompts_per_forward=4):
        assert row["kl/counting"] == pytest.approx(row["kl"], rel=1e-4, abs=1e-9)
        assert row["entropy/counting"] == pytest.approx(row["entropy"], rel=1e-5)
        assert row["length/counting"] == pytest.approx(row["completions/mean_length"], rel=1e-6)


def test_what_is_told_of_each_task_does_not_depend_on_how_a_step_is_cut(start, tmp_path):
    grpo = {"kl_coefficient": 1e-3, "learning_rate": 1e-4, "prompts_per_rollout": 4}
    whole = told(start, tmp_path / "whole", prompts_per_forward=4, **grpo)
    cut = told(start, tmp_path / "cut", prompts_per_forward=1, **grpo)
    for one, other in zip(whole, cut, strict=True):
        names = {name for name in one if name.startswith(("length/", "kl/", "entropy/"))}
        assert len(names) >= 6, "two tasks at least"
        assert {name: one[name] for name in names} == pytest.approx({n: other[n] for n in names}, rel=1e-3, abs=1e-6)


def test_entropy_is_told_of_groups_that_were_computed_and_a_divergence_only_where_there_is_one(start, tmp_path):
    rows = told(start, tmp_path / "some", tiny_training.COUNTING)
    rows += told(tiny_policy.write_tiny(tmp_path / "tiny-random"), tmp_path / "none", tiny_training.COUNTING)
    assert [("entropy/counting" in row) for row in rows] == [row["zero_variance"] < 1 for row in rows]
    assert {"entropy/counting" in row for row in rows} == {True, False}
    assert not any(name.startswith("kl") for row in rows for name in row)


def test_the_running_scale_brings_tasks_to_one_size():
    scale = TaskScale()
    scale.observe([("loud", [0, 1, 0, 1]), ("quiet", [0.5, 0.52, 0.5, 0.52])])
    assert scale.of("loud") == pytest.approx(0.5, rel=1e-3)
    assert scale.of("quiet") == pytest.approx(0.01, rel=2e-2)
    before = scale.of("loud")
    scale.observe([("loud", [0, 0, 0, 0])])
    assert scale.of("loud") < before
    again = TaskScale()
    again.restore(scale.state())
    assert again.of("loud") == scale.of("loud")
