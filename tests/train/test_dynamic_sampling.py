"""Groups without a gradient cost no forward pass, and dynamic sampling replaces them."""

import pytest
import torch

from tests.support import tiny_policy, tiny_training
from videossr.models.policy import Prompt
from videossr.train.build_trainer import build_trainer

# Two completions at a low temperature are often equal: some groups have no variance, and some have.
FLAT = {"group_size": 2, "temperature": 0.05}


@pytest.fixture(scope="module")
def start():
    return tiny_training.warm()


def render(sample):
    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


def count_loss_passes(params, folder):
    """Train; returns the number of forward passes with a gradient, and the weights."""
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


@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo"])
def test_groups_without_variance_are_not_computed_and_the_update_is_the_same(start, tmp_path, loss_type):
    grpo = {**FLAT, "prompts_per_forward": 1, "loss_type": loss_type}
    skipping = tiny_training.changed(start, grpo)
    # A divergence with almost no weight keeps every group in the forward pass and changes no gradient.
    computing = tiny_training.changed(start, {**grpo, "kl_coefficient": 1e-30})
    fewer, one = count_loss_passes(skipping, tmp_path / "a")
    every, other = count_loss_passes(computing, tmp_path / "b")
    assert every == tiny_training.GRPO.steps * tiny_training.GRPO.prompts_per_step
    assert 0 < fewer < every
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=2e-5)


def test_a_step_without_any_gradient_still_decays_the_weights(tmp_path):
    untrained = tiny_policy.write_tiny(tmp_path / "tiny-random")  # no completion parses: every reward is 0
    grpo = {"weight_decay": 0.1}
    fewer, one = count_loss_passes(tiny_training.changed(untrained, grpo), tmp_path / "a")
    _, other = count_loss_passes(tiny_training.changed(untrained, {**grpo, "kl_coefficient": 1e-30}), tmp_path / "b")
    before = tiny_training.weights(untrained)
    assert fewer == 0
    assert any(not torch.equal(before[name], one[name]) for name in one), "the weights must have decayed"
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-7)


def test_groups_without_variance_are_replaced_in_a_bounded_number_of_rounds(start, tmp_path):
    plain = tiny_training.run(tmp_path / "plain", tiny_training.changed(start, FLAT))
    refilled = tiny_training.run(tmp_path / "refilled", tiny_training.changed(start, {**FLAT, "refill_rounds": 2}))
    again = tiny_training.run(tmp_path / "again", tiny_training.changed(start, {**FLAT, "refill_rounds": 2}))
    assert refilled.grpo == again.grpo
    assert refilled.grpo[0]["zero_variance"] <= plain.grpo[0]["zero_variance"]
    assert max(row["exchanged"] for row in refilled.grpo) > 0


def test_a_policy_whose_rewards_never_vary_does_not_block_dynamic_sampling(tmp_path):
    untrained = tiny_policy.write_tiny(tmp_path / "tiny-random")
    report = tiny_training.run(tmp_path, tiny_training.changed(untrained, {"refill_rounds": 2, "steps": 1}))
    assert report.grpo[0]["exchanged"] == 0 and report.grpo[0]["zero_variance"] == 1
