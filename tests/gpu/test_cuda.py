"""Tests that need a GPU: the CUDA kernels give the values that the CPU tests require, and a run trains with them."""

from dataclasses import replace

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from tests.support import tiny_policy, tiny_training
from tests.support.tiny_training import same_weights
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_policy, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, generate_branches, generate_rows
from videossr.models.model_inputs import encode_vision
from videossr.models.policy import render_prompt
from videossr.train.params import LoraParams
from videossr.train.prefix import Group, repeated_logps, shared_logps

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

GREEDY = Decoding(max_new_tokens=10, temperature=0.0, end_ids=(), suppressed_ids=(), pad_id=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


@pytest.fixture(scope="module")
def prompts(folder):
    """A prompt of one clip and one of eight."""
    processor = load_processor(folder)
    chosen = [tiny_policy.samples(4)[i] for i in (0, 3)]
    return [encode(processor, render_prompt(s, tiny_policy.TASKS[s.task], tiny_policy.clips())) for s in chosen]


def load_on_gpu(folder, dtype):
    model = load_model(folder, dtype).cuda()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_branched_attention(model)
    return model


def values_and_gradient(model, groups, logps):
    model.zero_grad()
    values, _ = logps(model, groups, 0)
    # Every completion token has another weight, so that no two errors cancel.
    (values * torch.linspace(0.1, 1, values.numel(), device="cuda").view_as(values)).sum().backward()
    return values.detach(), torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])


# In float32 and float64 only the order of sums differs; in bfloat16 every product is rounded.
@pytest.mark.parametrize(
    ("dtype", "nats", "gradient_error"), [("float64", 1e-9, 1e-6), ("float32", 1e-4, 1e-3), ("bfloat16", 0.1, 0.1)]
)
def test_packed_and_repeated_rows_agree_in_value_and_gradient(folder, prompts, dtype, nats, gradient_error):
    model = load_on_gpu(folder, dtype).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    generator = torch.Generator().manual_seed(0)
    groups = [Group(p, [torch.randint(7, 300, (n,), generator=generator) for n in (3, 12, 7, 1)]) for p in prompts]
    shared, shared_gradient = values_and_gradient(model, groups, shared_logps)
    repeated, repeated_gradient = values_and_gradient(model, groups, repeated_logps)
    assert (shared - repeated).abs().max() <= nats
    assert (shared_gradient - repeated_gradient).norm() <= gradient_error * repeated_gradient.norm()


@pytest.mark.parametrize("temperature", [0.0, 0.9], ids=["greedy", "sampled"])
def test_branches_equal_rows_that_repeat_the_prompt(folder, prompts, temperature):
    model, decoding = load_on_gpu(folder, "float32"), replace(GREEDY, temperature=temperature)
    rows = generate_rows(model, prompts, 4, decoding, [1, 2])
    assert torch.equal(generate_branches(model, prompts, 4, decoding, [1, 2]), rows)
    assert torch.equal(generate_branches(model, encode_vision(model, prompts), 4, decoding, [1, 2]), rows)


@pytest.mark.parametrize(("dtype", "nats"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_greedy_tokens_are_the_most_likely_ones_of_the_loss(folder, prompts, dtype, nats):
    """No other token at a position has a higher log-probability in the loss than the one that the rollout chose."""
    model = load_on_gpu(folder, dtype)
    chosen = generate_branches(model, prompts[:1], 1, replace(GREEDY, max_new_tokens=4))[0].cpu()
    for place in range(4):
        others = torch.arange(len(load_processor(folder).tokenizer))
        branches = [torch.cat([chosen[:place], token[None]]) for token in others]
        with torch.no_grad():
            logps, _ = shared_logps(model, [Group(prompts[0], branches)], 0)
        assert logps[:, place].max() - logps[chosen[place], place] <= nats


@pytest.mark.parametrize("lora", [None, LoraParams(rank=4, alpha=8.0)], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
def test_a_stopped_run_in_bfloat16_continues_and_ends_like_one_without_a_stop(tmp_path, lora, checkpointing):
    grpo = {"bf16": True, "kl_coefficient": 1e-3, "steps": 4, "gradient_checkpointing": checkpointing}
    params = tiny_training.changed(tiny_training.warm(), grpo, lora=lora)

    def stop(metrics, step):
        if step == 3:
            raise KeyboardInterrupt

    tiny_training.run(tmp_path / "through", params)
    with pytest.raises(KeyboardInterrupt):
        tiny_training.run(tmp_path / "stopped", params, log_metrics=stop)
    tiny_training.run(tmp_path / "stopped", params)
    through, stopped = (tiny_training.curve(tmp_path / name) for name in ("through", "stopped"))
    assert [row["reward"] for row in through] == pytest.approx([row["reward"] for row in stopped], abs=0.05)
    assert all(torch.isfinite(torch.tensor([row["loss"] for row in through])))
    assert load_policy(tmp_path / "stopped" / "policy", 4).model.device.type == "cuda"


def test_verify_accepts_the_shared_prefix_in_float32(tmp_path):
    params = tiny_training.changed(tiny_training.warm(), {"steps": 1}, shared_prefix="verify")
    assert len(tiny_training.run(tmp_path, params).grpo) == 1


def test_shared_and_repeated_prompts_train_the_same_policy(tmp_path):
    start = tiny_training.warm()
    for shared in ("on", "off"):
        tiny_training.run(tmp_path / shared, tiny_training.changed(start, {"steps": 2}, shared_prefix=shared))
    assert same_weights(tmp_path / "on" / "policy", tmp_path / "off" / "policy", tolerance=2e-3)


def test_a_batch_of_questions_is_answered_on_the_gpu(folder):
    policy = load_policy(folder, 6)
    questions = [render_prompt(s, tiny_policy.TASKS[s.task], tiny_policy.clips()) for s in tiny_policy.samples(8)]
    replies = policy.respond(questions)
    assert policy.model.device.type == "cuda" and len(replies) == 8
    assert replies == [policy.respond([question])[0] for question in questions]
