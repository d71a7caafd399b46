"""The curriculum follows the policy: levels, blind floors, and the running scale of each task's rewards."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support import tiny_policy, tiny_training
from videossr.errors import ConfigError
from videossr.models.policy import Prompt
from videossr.records import FrameTimes
from videossr.train.build_trainer import build_trainer
from videossr.train.curriculum import Curriculum, TaskScale
from videossr.train.params import CurriculumParams, Level

SAMPLES = tiny_policy.samples(64)


LEVELS = {
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


def frame_times(video_id):
    return FrameTimes(video_id, tuple(tiny_policy.clips()[video_id].times.tolist()))


def curriculum(**params):
    return Curriculum(CurriculumParams(LEVELS, **params), tiny_policy.TASKS, SAMPLES, frame_times, seed=0)


def render(sample):
    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


def test_the_level_rises_on_success_and_falls_without(start):
    current = curriculum(window=4)
    current.observe([("counting", 1.0)] * 3)
    assert current.levels["counting"] == 0, "three groups do not fill a window of four"
    current.observe([("counting", 1.0)])
    assert current.levels["counting"] == 1
    current.observe([("counting", 0.0)] * 4)
    assert current.levels["counting"] == 0
    current.observe([("counting", 0.0)] * 8)
    assert current.levels["counting"] == 0, "there is no level below the easiest"


def test_success_within_the_band_keeps_the_level():
    current = curriculum(window=2)
    floor = current.floors["jigsaw"][0]
    current.observe([("jigsaw", floor + 0.5 * (1 - floor))] * 6)
    assert current.levels["jigsaw"] == 0


def test_a_level_that_a_constant_answer_solves_is_an_error():
    with pytest.raises(ConfigError, match=r"levels.counting\[0\] is solved by one constant answer"):
        levels = {"counting": (Level({"easy_max_frames": 1, "easy_max_instances": 1}), Level())}
        Curriculum(CurriculumParams(levels), tiny_policy.TASKS, SAMPLES, frame_times, 0)


def test_a_sample_at_the_current_level_has_the_same_video_and_the_right_answer():
    current = curriculum()
    rng = np.random.default_rng(0)
    for sample in SAMPLES[:8]:
        made = current.at_current_level(sample, rng)
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


def test_a_sample_of_a_task_without_levels_is_unchanged():
    current = Curriculum(CurriculumParams({"jigsaw": LEVELS["jigsaw"]}), tiny_policy.TASKS, SAMPLES, frame_times, 0)
    assert current.at_current_level(SAMPLES[0], np.random.default_rng(0)) is SAMPLES[0]


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (Level({"min_lenght": 2}), r"levels.grounding\[1\] has no parameter 'min_lenght' \(did you mean 'min_length'"),
        (Level(variant="hologram"), r"levels.grounding\[1\] has no variant 'hologram'"),
        (Level({"min_length": 7}), r"levels.grounding\[1\]: .*min_length <= max_length"),
    ],
)
def test_an_impossible_level_is_one_sentence(level, message):
    levels = {"grounding": (Level(), level)}
    with pytest.raises(ConfigError, match=message):
        Curriculum(CurriculumParams(levels), tiny_policy.TASKS, SAMPLES, frame_times, 0)


@pytest.mark.slow
def test_a_run_that_was_stopped_continues_with_its_curriculum(tmp_path):
    # A policy with one constant answer is above the blind floor of one level and below that of another, so it moves.
    # A few right answers keep it looking at its videos: training refuses a policy that does not.
    constant = [
        sample if i % 12 == 0 else replace(sample, answer="3,3,3") for i, sample in enumerate(tiny_training.COUNTING)
    ]
    warmup = tiny_training.warmup_of(60)
    tiny_training.run(
        tmp_path / "constant",
        replace(tiny_training.PARAMS, warmup=warmup, grpo=replace(tiny_training.GRPO, steps=1)),
        constant,
    )
    start = tmp_path / "constant" / "start"
    levels = CurriculumParams({"counting": (Level(), *LEVELS["counting"][1:])}, target=0.0, band=0.0, window=2)
    params = tiny_training.changed(
        start, {"steps": 5, "learning_rate": 1e-4, "running_task_scale": True, "refill_rounds": 1}, curriculum=levels
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
    assert len({row["level/counting"] for row in through}) > 1, "the level must move, or the test shows nothing"
    assert tiny_training.same_weights(tmp_path / "through" / "policy", tmp_path / "stopped" / "policy")


def test_skill_is_measured_above_the_floor_of_the_level_of_each_step(start, tmp_path):
    (tmp_path / "work").mkdir()
    rows, levels, current = [], [2], curriculum(target=0.0, band=0.0, window=2)
    current.levels["counting"] = 2  # a policy that hardly counts falls from here
    params = tiny_training.changed(start, {"steps": 5})

    def log(row, step):
        rows.append(row)

    trainer = build_trainer(
        params, tiny_training.COUNTING, render, params.policy, tmp_path / "work", "key", current, log
    )
    trainer.train()
    levels += [int(row["level/counting"]) for row in rows]  # each row has the level after its step
    assert len(set(levels[:-1])) > 1, "the level must move, or the test shows nothing"
    for level, row in zip(levels, rows, strict=False):
        floor = current.floors["counting"][level]
        assert row["skill/counting"] == pytest.approx((row["reward/counting"] - floor) / (1 - floor), abs=1e-6)


def test_the_running_scale_is_the_spread_of_each_tasks_rewards():
    scale = TaskScale()
    scale.observe([("wide", [0, 1, 0, 1]), ("narrow", [0.5, 0.52, 0.5, 0.52])])
    assert scale.of("wide") == pytest.approx(0.5, rel=1e-3)
    assert scale.of("narrow") == pytest.approx(0.01, rel=2e-2)
    before = scale.of("wide")
    scale.observe([("wide", [0, 0, 0, 0])])
    assert scale.of("wide") < before
    again = TaskScale()
    again.restore(scale.state())
    assert again.of("wide") == scale.of("wide")
