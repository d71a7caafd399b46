"""The shared prefix is exact: the same log-probabilities and gradients as one repeated row a completion."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig
from trl.trainer.utils import add_fused_lm_head

from tests.support import tiny_policy
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.model_inputs import encode_vision
from videossr.models.policy import Prompt
from videossr.pretext import TASKS
from videossr.train.attention import use_branched_attention
from videossr.train.prefix import Group, pack, repeated_logps, shared_logps
from videossr.train.rollout import repeated_rollout, shared_rollout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


@pytest.fixture(scope="module")
def processor(folder):
    return load_processor(folder)


def encoded(processor, index):
    sample = tiny_policy.samples(4)[index]
    return encode(processor, Prompt(sample.question, tuple(TASKS[sample.task]().render(sample, tiny_policy.clips()))))


def groups_of(processor, *layout):
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(processor.tokenizer)
    return [
        Group(encoded(processor, index), [torch.randint(7, vocabulary, (n,), generator=generator) for n in lengths])
        for index, lengths in layout
    ]


def forward_and_gradient(model, groups, logps):
    model.zero_grad()
    values, entropy = logps(model, groups, 0)
    # Every completion token has another weight, so that no two errors cancel.
    (values * torch.linspace(0.1, 1, values.numel()).view_as(values)).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return values.detach(), entropy.detach(), gradient


@pytest.mark.parametrize("attention", ["branched", "dense"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize(
    "layout",
    [((0, (3, 12, 7, 1)),), ((3, (5, 2, 9, 4)),), ((0, (3, 12, 7, 1)), (3, (5, 2, 9, 4)))],
    ids=["one clip", "eight clips", "two groups"],
)
def test_shared_prefix_and_repeated_rows_agree_in_value_and_gradient(
    folder, processor, layout, lora, checkpointing, attention
):
    model = load_model(folder, "float64")
    if attention == "branched":
        use_branched_attention(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    groups = groups_of(processor, *layout)
    shared, shared_entropy, shared_gradient = forward_and_gradient(model, groups, shared_logps)
    repeated, repeated_entropy, repeated_gradient = forward_and_gradient(model, groups, repeated_logps)
    assert shared.dtype == torch.float64
    torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-9)
    torch.testing.assert_close(shared_entropy, repeated_entropy, rtol=0, atol=1e-9)
    assert (shared_gradient - repeated_gradient).norm() <= 1e-6 * repeated_gradient.norm()


def test_a_branch_sees_the_prompt_and_itself_but_no_other_branch(folder, processor):
    model = load_model(folder, "float32")
    (group,) = groups_of(processor, (0, (3, 4)))
    packed = pack(model, [group], 0)
    prefix = len(group.prompt) - 1
    sees = packed.mask[0, 0]
    assert sees[prefix + 3, :prefix].all() and sees[prefix + 6, :prefix].all()
    assert not sees[prefix + 3 :, prefix : prefix + 3].any()
    assert not sees[:prefix, prefix:].any()


def test_branched_attention_masks_only_tokens_after_the_shortest_prefix(folder, processor):
    model = load_model(folder, "float32")
    groups = groups_of(processor, (0, (3, 4)), (3, (5,)))
    dense = pack(model, groups, 0)
    use_branched_attention(model)
    packed = pack(model, groups, 0)
    assert dense.prefix_length == 0 and packed.prefix_length == min(len(group.prompt) for group in groups) - 1
    assert torch.equal(packed.mask, dense.mask[:, :, packed.prefix_length :])


def test_greedy_rollouts_with_and_without_a_shared_prefix_are_equal(folder, processor):
    model = load_model(folder, "float32").eval()
    prompts = [encoded(processor, 0), encoded(processor, 3)]
    config = GenerationConfig(max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0)
    with torch.no_grad():
        shared = shared_rollout(model, prompts, 3, config, 0)
        repeated = repeated_rollout(model, prompts, 3, config, 0)
    assert shared.shape == (6, 10)
    assert torch.equal(shared, repeated)


def test_sampled_rollouts_with_and_without_a_shared_prefix_have_one_distribution(folder, processor):
    model = load_model(folder, "float32").eval()
    model.lm_head.weight.data *= 8  # a random model has nearly equal logits: spread them
    prompt = encoded(processor, 0)
    config = GenerationConfig(max_new_tokens=1, do_sample=True, top_k=0, eos_token_id=None, pad_token_id=0)
    with torch.no_grad():
        torch.manual_seed(0)
        shared = shared_rollout(model, [prompt], 800, config, 0).flatten()
        repeated = torch.cat([repeated_rollout(model, [prompt], 200, config, 0) for _ in range(4)]).flatten()
    likely = repeated.bincount().topk(5).indices
    assert repeated.bincount().max() > 0.02 * len(repeated), (
        "the model must prefer some tokens, or the test shows nothing"
    )
    for token in likely:
        shares = [(drawn == token).double().mean().item() for drawn in (shared, repeated)]
        assert abs(shares[0] - shares[1]) < 4 * (2 * shares[1] / 800) ** 0.5


def test_a_prompt_with_vision_features_needs_no_vision_tower(folder, processor):
    model = load_model(folder, "float64")
    groups = groups_of(processor, (0, (3, 2)), (3, (4, 1)))
    from_pixels, _ = shared_logps(model, groups, 0)
    with_features = [
        Group(prompt, g.completions)
        for prompt, g in zip(encode_vision(model, [g.prompt for g in groups]), groups, strict=True)
    ]
    model.model.visual.register_forward_pre_hook(lambda *_: pytest.fail("the vision tower must not run"))
    for logps in (shared_logps, repeated_logps):
        torch.testing.assert_close(logps(model, with_features, 0)[0], from_pixels, rtol=0, atol=1e-9)
