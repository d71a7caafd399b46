"""The train stage: the loss depends on the pixels, a killed run continues, a user's mistake is one sentence."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.support import ROOT, tiny_policy, tiny_training
from tests.support.tiny_training import same_weights
from videossr.errors import ConfigError, PolicyError, TrainingError
from videossr.models.checkpoint import load_model, load_policy, resolve_checkpoint
from videossr.models.policy import Prompt
from videossr.models.tiny_random import TinyRandomParams
from videossr.pretext import TASKS
from videossr.train.checkpoints import last_whole_checkpoint, remove_incomplete
from videossr.train.params import GrpoParams, WarmupParams, WarmupPhase
from videossr.train.progress import RunLog
from videossr.train.run_keys import run_key

GRPO = replace(tiny_training.GRPO, steps=4, kl_coefficient=1e-3)
PARAMS = replace(tiny_training.PARAMS, grpo=GRPO)


def run(folder, params=PARAMS, **given):
    return tiny_training.run(folder, params, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    logged = []
    report = run(folder, log_metrics=lambda metrics, step: logged.append((step, metrics)))
    return folder, report, logged


def test_training_writes_the_policy_before_and_after_and_its_curves(trained):
    folder, report, logged = trained
    assert not same_weights(folder / "start", folder / "policy", tolerance=1e-4)
    written = json.loads((folder / "train.json").read_text())
    assert [row["step"] for row in written["grpo"]] == [1, 2, 3, 4] == [step for step, _ in logged]
    assert len(written["warmup"]) == PARAMS.warmup.steps
    assert {"reward", "loss", "kl", "zero_variance"} <= set(written["grpo"][0])
    assert max(row["skill/counting"] for row in written["grpo"]) > -1, (
        "the warm start must have taught the policy the form of an answer"
    )
    assert written["vision_sensitivity_nats"] == report.vision_sensitivity_nats > 0


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_warm_start_may_have_any_number_of_steps(tmp_path, steps):
    params = replace(PARAMS, warmup=tiny_training.warmup_of(steps), grpo=replace(GRPO, steps=1))
    assert len(run(tmp_path, params).warmup) == steps


def test_the_trained_policy_loads_and_answers(trained):
    sample = tiny_policy.samples(1)[0]
    prompt = Prompt(sample.question, tuple(TASKS[sample.task]().render(sample, tiny_policy.clips())))
    assert len(load_policy(trained[0] / "policy", 4).respond([prompt])) == 1


def test_a_second_run_of_the_same_parameters_and_data_is_the_same(trained, tmp_path):
    run(tmp_path)
    assert same_weights(trained[0] / "policy", tmp_path / "policy", tolerance=0)
    assert (trained[0] / "train.json").read_bytes() == (tmp_path / "train.json").read_bytes()


def test_shared_and_repeated_prompts_train_the_same_policy(trained, tmp_path):
    run(tmp_path, replace(PARAMS, shared_prefix="off"))
    assert same_weights(trained[0] / "policy", tmp_path / "policy", tolerance=2e-3)


def test_a_run_that_was_killed_at_its_very_end_trains_no_further_step(trained, tmp_path):
    """After the last checkpoint, before the policy was published."""
    run(tmp_path)
    for name in ("start", "policy"):
        shutil.rmtree(tmp_path / name)
    (policy,) = (tmp_path / "work").glob("*/policy")
    shutil.rmtree(policy)
    assert [row["step"] for row in run(tmp_path).grpo] == [1, 2, 3, 4]
    assert same_weights(trained[0] / "policy", tmp_path / "policy")


def test_a_run_that_ran_out_of_memory_continues_with_smaller_passes(trained, tmp_path):
    run(tmp_path, replace(PARAMS, grpo=replace(GRPO, steps=4)))
    (last,) = (tmp_path / "work").glob("*/grpo/checkpoint-4")
    shutil.rmtree(last)
    smaller = replace(PARAMS, grpo=replace(GRPO, prompts_per_forward=1, gradient_checkpointing=True))
    log = next((tmp_path / "work").glob("*/grpo.jsonl"))
    before = log.read_text().splitlines()
    assert len(run(tmp_path, smaller).grpo) == 4
    assert log.read_text().splitlines()[: len(before)] == before, "no step before the checkpoint is trained again"
    assert len(list((tmp_path / "work").glob("*/grpo"))) == 1
    assert same_weights(trained[0] / "policy", tmp_path / "policy", tolerance=2e-3)


def test_a_run_that_is_made_longer_continues_and_ends_as_if_it_had_been_that_long(trained, tmp_path):
    start = trained[0] / "start"
    whole = run(tmp_path / "whole", replace(PARAMS, policy=str(start)))
    run(tmp_path / "longer", replace(PARAMS, policy=str(start), grpo=replace(GRPO, steps=2)))
    (log,) = (tmp_path / "longer" / "work").glob("*/grpo.jsonl")
    before = log.read_text().splitlines()
    longer = run(tmp_path / "longer", replace(PARAMS, policy=str(start)))
    assert log.read_text().splitlines()[:2] == before, "no step of the shorter run is trained again"
    assert longer.grpo == whole.grpo and len(longer.grpo) == 4
    assert same_weights(tmp_path / "whole" / "policy", tmp_path / "longer" / "policy")
    shorter = run(tmp_path / "longer", replace(PARAMS, policy=str(start), grpo=replace(GRPO, steps=3)))
    assert shorter.grpo == whole.grpo[:3]
    assert len(list((tmp_path / "longer" / "work").glob("*/grpo/checkpoint-4"))) == 1, "the longer run stays"


def test_a_run_keeps_its_key_where_its_steps_are_the_same():
    def key(**changes):
        grpo = replace(GRPO, **{name: changes.pop(name) for name in ("steps", "lr_schedule") if name in changes})
        return run_key(replace(PARAMS, grpo=grpo, **changes), tiny_training.COUNTING)

    assert key() == key(steps=9) == key(processes=2) == key(shared_prefix="off") == key(shared_prefix="verify")
    assert key(lr_schedule="linear") != key(lr_schedule="linear", steps=9), "its rate falls over all steps"
    sharded = str(ROOT / "recipes/accelerate/fsdp2-8-gpus.yaml")
    assert key(accelerate=sharded) == key(accelerate=sharded, processes=2)
    assert key(accelerate=sharded) != key(), "checkpoints of sharded weights are of another form"


def test_a_schedule_over_all_steps_says_that_another_length_is_another_run(trained, tmp_path, caplog):
    caplog.set_level("INFO", logger="videossr")
    start = str(trained[0] / "start")
    run(tmp_path, replace(PARAMS, policy=start, grpo=replace(GRPO, steps=1, lr_schedule="cosine")))
    assert "with lr_schedule 'cosine' every step depends on grpo.steps" in caplog.text


def test_a_checkpoint_between_two_rollouts_alone_is_continued_from(tmp_path):
    for step in (2, 3):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "WHOLE").write_text("this run")
    assert last_whole_checkpoint(tmp_path, "this run", before=9, every=2) == str(tmp_path / "checkpoint-2")


def test_a_run_with_other_grpo_parameters_reuses_the_warm_start(trained, tmp_path):
    shutil.copytree(trained[0] / "work", tmp_path / "work")
    starts = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("*/start/model.safetensors")}
    run(tmp_path, replace(PARAMS, grpo=replace(GRPO, steps=1, learning_rate=1e-4)))
    assert starts == {p: p.stat().st_mtime_ns for p in (tmp_path / "work").glob("*/start/model.safetensors")}


def test_another_model_in_the_same_folder_is_another_run(trained):
    params = replace(PARAMS, policy=str(trained[0] / "start"))
    other = replace(PARAMS, policy=str(trained[0] / "policy"))
    assert run_key(params, tiny_training.COUNTING) == run_key(params, tiny_training.COUNTING)
    assert run_key(params, tiny_training.COUNTING) != run_key(other, tiny_training.COUNTING)


def test_verify_compares_both_forward_passes_on_sampled_groups(trained, tmp_path, caplog):
    caplog.set_level("INFO", logger="videossr")
    start = str(trained[0] / "start")
    run(tmp_path, replace(PARAMS, policy=start, shared_prefix="verify", grpo=replace(GRPO, steps=1)))
    messages = [record.getMessage() for record in caplog.records]
    checked = next(i for i, text in enumerate(messages) if "the loss depends on the video" in text)
    (verified,) = [i for i, text in enumerate(messages) if "shared prefix verified" in text]
    assert checked < verified, "the groups compared are sampled ones, not the single answers of the vision check"


@pytest.mark.slow
@pytest.mark.parametrize("after", ["warm start", "GRPO"])
def test_a_killed_run_ends_with_the_same_policy(trained, tmp_path, after):
    """Kill -9 as soon as a checkpoint of the phase exists, then run again."""
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}; import pathlib; from tests.train import test_stage; "
        f"test_stage.run(pathlib.Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    pattern = {"warm start": "work/*/warmup.pt", "GRPO": "work/*/grpo/checkpoint-2/WHOLE"}[after]
    while process.poll() is None and not list(tmp_path.glob(pattern)):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "train.json").exists()
    run(tmp_path)
    assert same_weights(trained[0] / "policy", tmp_path / "policy")


def test_an_incomplete_checkpoint_is_ignored_and_removed(tmp_path):
    for step, whole in ((2, True), (10, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "WHOLE").write_text("this run")
    assert last_whole_checkpoint(tmp_path, "this run", before=20) == str(tmp_path / "checkpoint-2")
    assert last_whole_checkpoint(tmp_path, "this run", before=2) is None
    remove_incomplete(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    with pytest.raises(TrainingError, match="another policy, other parameters or other samples"):
        last_whole_checkpoint(tmp_path, "that run", before=20)


def test_a_damaged_last_line_of_the_run_log_is_replaced(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "reward": 0.5}\n{"step": 2, "rew')
    log = RunLog(path)
    log.append({"step": 2, "reward": 0.25})
    assert [row["reward"] for row in log.read()] == [0.5, 0.25]


def test_a_loss_that_ignores_the_video_stops_the_run(trained, tmp_path):
    """A vision tower whose output is zero: no pixel moves the loss."""
    blind = load_model(trained[0] / "start", "float32")
    for name, parameter in blind.model.visual.named_parameters():
        if "merger" in name:
            parameter.data.zero_()
    blind.save_pretrained(tmp_path / "blind")
    load_policy(trained[0] / "start").processor.save_pretrained(tmp_path / "blind")
    with pytest.raises(TrainingError, match="the loss must depend on every clip"):
        run(tmp_path, replace(PARAMS, policy=str(tmp_path / "blind")))


def test_a_policy_given_by_folder_skips_the_warm_start(trained, tmp_path):
    report = run(tmp_path, replace(PARAMS, policy=str(trained[0] / "start"), grpo=replace(GRPO, steps=1)))
    assert report.warmup == []
    assert resolve_checkpoint(tmp_path / "start") == str(trained[0] / "start")


def test_an_unknown_policy_stops_the_run_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match="no/such-model"):
        run(tmp_path, replace(PARAMS, policy="no/such-model"))


def test_no_samples_is_one_sentence(tmp_path):
    with pytest.raises(TrainingError, match="at least one sample"):
        run(tmp_path, samples=[])


def test_fewer_samples_than_a_step_needs_is_one_sentence(tmp_path):
    with pytest.raises(TrainingError, match="asks 4 different samples, but there are only 3: lower .*prompts_per_step"):
        run(tmp_path, samples=tiny_training.COUNTING[:3])


@pytest.mark.parametrize(
    ("cls", "section", "sentence"),
    [
        (GrpoParams, {"steps": 0}, "steps must be at least 1, got 0"),
        (GrpoParams, {"prompts_per_step": 0}, "prompts_per_step must be at least 1"),
        (GrpoParams, {"max_completion_tokens": 0}, "max_completion_tokens must be at least 1"),
        (GrpoParams, {"temperature": 0}, "temperature must be above 0, got 0"),
        (GrpoParams, {"learning_rate": -1e-6}, "learning_rate must be above 0"),
        (WarmupParams, {"prompts_per_forward": 0}, "prompts_per_forward must be at least 1, got 0"),
        (WarmupParams, {"matrix_learning_rate": 0}, "matrix_learning_rate must be above 0, got 0"),
        (WarmupPhase, {"batch_size": 0}, "batch_size must be at least 1"),
        (WarmupPhase, {"steps": -1}, "steps must be at least 0, got -1"),
        (WarmupPhase, {"answers": 2}, "answers must be 1 where videos are shown .* got 2: set shows_videos: false"),
        (WarmupPhase, {"mixture": {"jigsaw/5": 1}}, "mixture names an unknown kind 'jigsaw/5': write task/variant"),
        (WarmupPhase, {"mixture": {"jigsaw/6": 0}}, "mixture needs shares above 0, got 0 for 'jigsaw/6'"),
        (WarmupPhase, {"settings": {"puzzle": {}}}, "there is no task 'puzzle'"),
        (WarmupPhase, {"settings": {"jigsaw": {}}}, "settings need a mixture"),
    ],
)
def test_a_number_out_of_range_is_one_sentence(cls, section, sentence):
    with pytest.raises(ConfigError, match=sentence):
        cls(**section)


def test_groups_must_divide_into_forward_passes():
    with pytest.raises(ConfigError, match="must be a multiple of prompts_per_forward"):
        GrpoParams(prompts_per_step=6, prompts_per_forward=4)


def test_every_step_has_its_row_also_where_a_rollout_serves_two_updates(trained, tmp_path):
    logged = []
    params = replace(PARAMS, policy=str(trained[0] / "start"), grpo=replace(GRPO, updates_per_rollout=2))
    report = run(tmp_path, params, log_metrics=lambda metrics, step: logged.append(step))
    assert [row["step"] for row in report.grpo] == [1, 2, 3, 4] == logged
    for row in report.grpo:
        assert {"loss", "kl", "entropy", "kl/counting", "gradient_norm", "learning_rate"} <= set(row)
    assert ["reward" in row for row in report.grpo] == [True, False, True, False]


def test_the_tiny_random_policy_is_small_and_grpo_defaults_to_the_paper():
    assert TinyRandomParams().text_layers <= 6
    assert (GrpoParams().prompts_per_step, GrpoParams().steps, GrpoParams().kl_coefficient) == (64, 469, 1e-3)
