"""Every loss of TRL learns the same with and without a shared prefix, in full and on adapters; saved policies load."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trl

from tests.support import tiny_policy, tiny_training
from videossr.errors import ConfigError
from videossr.models.checkpoint import ADAPTER_CONFIG, load_model, load_policy, load_processor, resolve_checkpoint
from videossr.models.encode_prompt import encode
from videossr.models.policy import Prompt
from videossr.train.build_trainer import build_trainer
from videossr.train.params import LOSSES, GrpoParams, LoraParams

LORA = LoraParams(rank=4, alpha=8.0)
QUICK = (("dapo", "full"), ("grpo", "lora"))


@pytest.fixture(scope="module")
def start():
    return tiny_training.warm()


def render(sample):
    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


def trained(params, folder):
    """The learned weights after a run, without the files."""
    (folder / "work").mkdir(parents=True)
    trainer = build_trainer(
        params, tiny_training.COUNTING, render, params.policy, folder / "work", "key", None, lambda *_: None
    )
    trainer.train()
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def test_the_losses_are_those_of_trl():
    source = (Path(trl.__file__).parent / "trainer" / "grpo_trainer.py").read_text()
    body = source[source.index("def _compute_loss") :]
    named = re.findall(r'self\.loss_type == "(\w+)"', body)
    named += [
        n for group in re.findall(r"self\.loss_type in \[([^\]]+)\]", body) for n in re.findall(r'"(\w+)"', group)
    ]
    assert set(named) == set(LOSSES)


def test_an_unknown_loss_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="loss_type must be one of grpo, bnpo, dr_grpo, .* got 'ppo'"):
        GrpoParams(loss_type="ppo")


@pytest.mark.parametrize(
    ("loss_type", "lora"),
    [
        pytest.param(name, lora, id=f"{name}-{kind}", marks=() if (name, kind) in QUICK else pytest.mark.slow)
        for name in LOSSES
        for kind, lora in (("full", None), ("lora", LORA))
    ],
)
def test_every_loss_learns_the_same_from_the_shared_prefix_as_from_repeated_rows(start, tmp_path, loss_type, lora):
    # Two updates a rollout, so that the ratio is not 1. A small learning rate, so that rounding does not grow.
    grpo = {
        "loss_type": loss_type,
        "kl_coefficient": 0.01,
        "steps": 2,
        "updates_per_rollout": 2,
        "learning_rate": 1e-4,
        "importance": "sequence" if loss_type == "luspo" else "token",
        "optimizer": "adamw_torch",
    }
    params = tiny_training.changed(start, grpo, lora=lora)
    shared = trained(params, tmp_path / "shared")
    repeated = trained(replace(params, shared_prefix="off"), tmp_path / "repeated")
    before = load_model(start, "float32").state_dict()
    moved = sum((value - before[name]).norm() ** 2 for name, value in shared.items() if name in before) ** 0.5
    apart = sum((shared[name] - repeated[name]).norm() ** 2 for name in shared) ** 0.5
    if lora is None:
        assert moved > 0
    # Adam scales every gradient to a full step, also one that is rounding only: a few weights may differ.
    assert apart <= 0.1 * max(moved, 1e-4 * sum(value.numel() for value in shared.values()) ** 0.5)


@pytest.mark.slow
def test_gradient_checkpointing_and_accumulation_change_nothing(start, tmp_path):
    plain = trained(tiny_training.changed(start, {"kl_coefficient": 1e-3, "learning_rate": 1e-4}), tmp_path / "plain")
    cut = {"kl_coefficient": 1e-3, "learning_rate": 1e-4, "prompts_per_forward": 1, "gradient_checkpointing": True}
    other = trained(tiny_training.changed(start, cut), tmp_path / "cut")
    for name in plain:
        torch.testing.assert_close(plain[name], other[name], rtol=0, atol=3e-4)


def test_bf16_trains_float32_weights(start, tmp_path):
    learned = trained(tiny_training.changed(start, {"bf16": True, "kl_coefficient": 1e-3}), tmp_path)
    assert {value.dtype for value in learned.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in learned.values())


def test_a_frozen_vision_tower_is_unchanged_and_runs_once_a_prompt(start, tmp_path):
    params = tiny_training.changed(start, {"kl_coefficient": 1e-3, "steps": 2}, freeze_vision=True)
    (tmp_path / "work").mkdir()
    trainer = build_trainer(
        params, tiny_training.COUNTING, render, params.policy, tmp_path / "work", "key", None, lambda *_: None
    )
    passes = []
    for model in (trainer.model, trainer.ref_model):
        model.model.visual.register_forward_pre_hook(lambda *_: passes.append(1))
    trainer.train()
    assert len(passes) == 2 * params.grpo.prompts_per_step, "rollout, reference and loss share the features"
    learned, before = trainer.model.state_dict(), tiny_training.weights(start)
    same = {name: torch.equal(value, before[name]) for name, value in learned.items()}
    assert all(unchanged for name, unchanged in same.items() if "visual" in name) and not all(same.values())


@pytest.mark.slow
def test_adapters_on_the_language_model_leave_the_vision_tower_out(start, tmp_path):
    """Two runs give the same weights, and none of them belongs to the tower."""
    params = tiny_training.changed(start, {"kl_coefficient": 1e-3, "learning_rate": 1e-4}, lora=LORA)
    shared = trained(params, tmp_path / "a")
    again = trained(params, tmp_path / "b")
    assert all(torch.equal(shared[name], again[name]) for name in shared)
    assert not [name for name in shared if "visual" in name]


def test_adapters_are_saved_with_their_base_and_load_from_another_folder(tmp_path):
    tiny_training.run(
        tmp_path, replace(tiny_training.PARAMS, lora=LORA, grpo=replace(tiny_training.GRPO, learning_rate=1e-2))
    )
    policy = tmp_path / "policy"
    assert (policy / ADAPTER_CONFIG).exists() and resolve_checkpoint(policy) == str(policy)
    shutil.rmtree(tmp_path / "work")  # the folder needs nothing else, and may be moved
    policy = policy.rename(tmp_path / "moved")
    prompts = [render(sample) for sample in tiny_training.COUNTING[:3]]
    replies = load_policy(policy, 6).respond(prompts)
    merged = load_policy(policy, 6)
    merged = replace(merged, model=merged.model.merge_and_unload())
    assert replies == merged.respond(prompts)
    ids = encode(load_processor(policy), prompts[0]).input_ids[None]
    with torch.no_grad():
        after = load_model(policy, "float32")(input_ids=ids).logits
        before = load_model(policy / "base", "float32")(input_ids=ids).logits
    assert not torch.allclose(after, before)


def test_adapters_on_a_named_policy_point_to_it(start, tmp_path):
    tiny_training.run(tmp_path, tiny_training.changed(start, lora=LORA))
    assert not (tmp_path / "policy" / "base").exists()
    assert f'"base_model_name_or_path": "{start}"' in (tmp_path / "policy" / ADAPTER_CONFIG).read_text()
    load_policy(tmp_path / "policy")


@pytest.mark.parametrize("lora", [None, LORA])
def test_adapters_are_a_policy_to_train(start, tmp_path, lora):
    """Training starts from their base with the adapters merged into it; new adapters hold a copy of that."""
    rate = replace(tiny_training.GRPO, learning_rate=1e-2)
    tiny_training.run(tmp_path / "first", replace(tiny_training.changed(start), lora=LORA, grpo=rate))
    adapters = tmp_path / "first" / "policy"
    (adapters / "tokenizer_config.json").unlink()  # as peft alone saves them: the processor is that of the base
    params = replace(tiny_training.changed(adapters), lora=lora)
    tiny_training.run(tmp_path / "second", params)
    ids = encode(load_processor(adapters), render(tiny_training.COUNTING[0])).input_ids[None]
    with torch.no_grad():
        first, merged, base = (
            load_model(folder, "float32")(input_ids=ids).logits
            for folder in (adapters, tmp_path / "second" / "start", start)
        )
    torch.testing.assert_close(merged, first)
    assert not torch.allclose(merged, base)
    policy = tmp_path / "second" / "policy"
    assert (policy / "base").exists() == (lora is not None)
    load_policy(policy)


@pytest.mark.slow
def test_a_stopped_run_on_adapters_continues_on_the_same_course(start, tmp_path):
    params = tiny_training.changed(start, {"steps": 5, "kl_coefficient": 1e-3, "learning_rate": 1e-2}, lora=LORA)
    tiny_training.run(tmp_path / "through", params)

    def stop(metrics, step):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_training.run(tmp_path / "stopped", params, log_metrics=stop)
    tiny_training.run(tmp_path / "stopped", params)
    for one, other in zip(*(tiny_training.curve(tmp_path / name) for name in ("through", "stopped")), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
