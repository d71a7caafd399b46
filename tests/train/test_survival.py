"""Training without supervision: an unusable sample is skipped and named, a fatal fault is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support import tiny_policy, tiny_training
from videossr.errors import TrainingError
from videossr.models.checkpoint import load_processor
from videossr.models.encode_prompt import encode
from videossr.models.policy import Prompt
from videossr.train.build_trainer import build_trainer
from videossr.train.params import CurriculumParams, Level


@pytest.fixture(scope="module")
def start():
    return tiny_training.warm()


def render(sample):
    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


def trainer_of(params, folder):
    (folder / "work").mkdir(parents=True)
    return build_trainer(
        params, tiny_training.COUNTING, render, params.policy, folder / "work", "key", None, lambda *_: None
    )


def test_a_sample_that_cannot_be_rendered_is_skipped_counted_and_named(start, tmp_path, caplog):
    store = {name: clip for name, clip in tiny_policy.clips().items() if name != "video2"}
    report = tiny_training.run(tmp_path, tiny_training.changed(start, {"steps": 4}), store=store)
    unusable = {sample.sample_id for sample in tiny_training.COUNTING if sample.video_id == "video2"}
    assert set(report.skipped) and set(report.skipped) <= unusable
    assert report.grpo[-1]["skipped"] == len(report.skipped)
    assert json.loads((tmp_path / "train.json").read_text())["skipped"] == report.skipped
    name, reason = next(iter(report.skipped.items()))
    assert "cannot be rendered" in reason and f"sample {name} is skipped" in caplog.text


def test_a_video_that_is_missing_is_skipped_under_a_curriculum_too(start, tmp_path):
    store = {name: clip for name, clip in tiny_policy.clips().items() if name != "video2"}
    levels = CurriculumParams({"counting": (Level({"easy_max_frames": 1}), Level())})
    report = tiny_training.run(tmp_path, tiny_training.changed(start, {"steps": 4}, curriculum=levels), store=store)
    assert report.skipped and all("cannot be rendered" in reason for reason in report.skipped.values())


def test_the_warm_start_skips_samples_that_cannot_be_rendered(tmp_path):
    store = {name: clip for name, clip in tiny_policy.clips().items() if name != "video2"}
    params = replace(
        tiny_training.PARAMS,
        warmup=tiny_training.warmup_of(6),
        grpo=replace(tiny_training.GRPO, steps=1),
    )
    report = tiny_training.run(tmp_path, params, store=store)
    assert len(report.warmup) == 6


def test_a_prompt_longer_than_the_limit_is_skipped_and_never_cut(start, tmp_path):
    lengths = {s.sample_id: len(encode(load_processor(start), render(s))) for s in tiny_policy.samples(64)}
    limit = sorted(lengths.values())[32]
    report = tiny_training.run(
        tmp_path, tiny_training.changed(start, {"max_prompt_tokens": limit}), tiny_policy.samples(64)
    )
    assert report.skipped
    for name, reason in report.skipped.items():
        assert reason == f"its prompt has {lengths[name]} tokens, more than {limit}" and lengths[name] > limit


def test_a_data_set_of_unusable_samples_is_one_sentence(start, tmp_path):
    with pytest.raises(TrainingError, match="samples in a row could not be used"):
        tiny_training.run(tmp_path, tiny_training.changed(start, {"max_prompt_tokens": 5}))


def test_out_of_memory_names_the_parameters_to_lower(start, tmp_path):
    trainer = trainer_of(tiny_training.changed(start), tmp_path)

    def run_out(module, args, kwargs):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total of ...")

    trainer.model.register_forward_pre_hook(run_out, with_kwargs=True)
    with pytest.raises(TrainingError, match=r"2.50 GiB more were asked for\): lower .*prompts_per_forward"):
        trainer.train()


def test_out_of_memory_while_rendering_is_one_sentence_too(tmp_path):
    class Full(dict):
        def __getitem__(self, name):
            raise torch.OutOfMemoryError("Tried to allocate 2.50 GiB")

    with pytest.raises(TrainingError, match="2.50 GiB more were asked for"):
        tiny_training.run(tmp_path, store=Full(tiny_policy.clips()))


def test_a_loss_of_nan_stops_the_run_with_the_batch_saved_and_the_weights_unchanged(start, tmp_path):
    trainer = trainer_of(tiny_training.changed(start, {"kl_coefficient": 1e-3}), tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    def poison(module, args, kwargs, out):
        if torch.is_grad_enabled():
            out.log_probs = out.log_probs * torch.nan
        return out

    trainer.model.register_forward_hook(poison, with_kwargs=True)
    with pytest.raises(TrainingError, match=r"the loss is nan in step 1; the batch is kept in \S+\.json"):
        trainer.train()
    (saved,) = Path(trainer.args.output_dir).glob("fault-*.json")
    batch = json.loads(saved.read_text())
    assert len(batch["sample_ids"]) == 2 and set(batch["sample_ids"]) <= {s.sample_id for s in tiny_training.COUNTING}
    assert batch["step"] == 1 and len(batch["completion_ids"]) == 8 and len(batch["advantages"]) == 8
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_a_gradient_of_infinity_stops_the_run(start, tmp_path):
    trainer = trainer_of(tiny_training.changed(start, {"kl_coefficient": 1e-3}), tmp_path)
    trainer.model.model.language_model.norm.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match="the gradient is not finite in step 1"):
        trainer.train()


def test_a_run_does_not_continue_from_a_checkpoint_of_another_run(start, tmp_path):
    tiny_training.run(tmp_path, tiny_training.changed(start))
    for mark in (tmp_path / "work").glob("*/grpo/checkpoint-*/WHOLE"):
        mark.write_text("another run")
    with pytest.raises(TrainingError, match="another policy, other parameters or other samples"):
        tiny_training.run(tmp_path, tiny_training.changed(start))


def test_an_eight_bit_optimizer_without_its_extra_is_one_sentence(start, tmp_path):
    with pytest.raises(TrainingError, match="needs a GPU and the extra 'optimizers'"):
        tiny_training.run(tmp_path, tiny_training.changed(start, {"optimizer": "paged_adamw_8bit"}))
