"""A step waits for the device a fixed number of times, and once for each token that it decodes."""

import random

import pytest
import torch

from tests.support import families, tiny_policy, tiny_training, waits
from videossr.models.policy import render_prompt
from videossr.train import grpo
from videossr.train.build_trainer import build_trainer
from videossr.train.reward import CompletionScore

MOST_WAITS, GROUP_SIZE = 30, 4


def test_what_makes_the_host_wait_is_counted():
    tensor = waits.OnDevice(torch.arange(4))
    for wait in (
        lambda: tensor.sum().item(),
        lambda: tensor.tolist(),
        lambda: tensor.cpu(),
        lambda: bool(tensor.any()),
        lambda: tensor[tensor > 1],
        lambda: tensor.nonzero(),
        lambda: tensor.repeat_interleave(tensor),
    ):
        with waits.count_waits() as counter:
            wait()
        assert counter.total == 1, counter.waits
    with waits.count_waits() as counter:
        moved = torch.ones(4).to(waits.DEVICE) + tensor[torch.tensor([0, 1, 2, 3])].clamp(max=2)
    assert counter.total == 0 and moved.values.tolist() == [1, 2, 3, 3]
    with waits.count_waits(), pytest.raises(RuntimeError, match="of the device and of the host"):
        tensor + torch.ones(4)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen3_vl", {}),
        pytest.param("qwen3_vl", {"freeze_vision": True}, marks=pytest.mark.slow),
        pytest.param("qwen2_5_vl", {}, marks=pytest.mark.slow),
        pytest.param("qwen3_5", {}, marks=pytest.mark.slow),
    ],
)
def test_a_step_waits_as_often_for_many_prompts_as_for_few(family, changes, tmp_path):
    folder = families.write_family(family, tmp_path / "policy")
    counts = {}
    for prompts_per_step in (4, 8):
        settings = {"prompts_per_step": prompts_per_step, "prompts_per_forward": 2, "group_size": GROUP_SIZE}
        params = tiny_training.changed(folder, {**settings, "kl_coefficient": 0.01}, **changes)
        counts[prompts_per_step] = count_step(params, folder, tmp_path / str(prompts_per_step))
    assert counts[8].total == counts[4].total <= MOST_WAITS + params.grpo.max_completion_tokens, counts[8].waits


def count_step(params, folder, work):
    """The waits of one step of GRPO, with rewards by chance, on the pretended device."""
    random.seed(0)
    samples = tiny_policy.samples(params.grpo.prompts_per_step)

    def render(sample):
        return render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())

    trainer = build_trainer(params, samples, render, str(folder), work, "key", None, lambda *_: None)
    trainer._scorer = lambda *_: CompletionScore(random.random(), random.random(), True)
    for model in (trainer.model, trainer.ref_model):
        waits.to_device(model)
    home = trainer.accelerator.device
    grpo._set_device(trainer.accelerator, waits.DEVICE)
    try:
        trainer.model_wrapped = trainer.model
        trainer.model.train()
        optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-3, foreach=False)
        rows = [{"prompt": sample.sample_id} for sample in samples for _ in range(GROUP_SIZE)]
        num_passes = trainer.args.gradient_accumulation_steps
        trainer.current_gradient_accumulation_steps = num_passes
        with waits.count_waits() as counter:
            for i in range(num_passes):
                trainer.accelerator.gradient_state._set_sync_gradients(i == num_passes - 1)
                trainer.training_step(trainer.model, rows, None)
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            optimizer.step()
        return counter
    finally:
        grpo._set_device(trainer.accelerator, home)
