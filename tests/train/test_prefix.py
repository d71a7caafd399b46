"""The shared prefix is exact: the same log-probabilities and gradients as one repeated row a completion."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from trl.trainer.utils import add_fused_lm_head

from tests.support import tiny_policy
from videossr.clip import Clip
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.model_inputs import encode_vision, packed_video_inputs
from videossr.models.policy import Prompt
from videossr.pretext import TASKS
from videossr.train.prefix import Group, pack, repeated_logps, shared_logps


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


def test_time_slices_of_one_size_are_one_attention_call_with_the_same_features(folder, processor):
    """In values and gradients, for one clip and for eight."""
    one_by_one, at_once = load_model(folder, "float64"), load_model(folder, "float64")
    use_branched_attention(at_once)
    for index in (0, 3):
        prompt = encoded(processor, index)
        results = []
        for model in (one_by_one, at_once):
            model.zero_grad()
            inputs = packed_video_inputs(model, [prompt])
            assert ("video_slice_patches" in inputs) == (model is at_once)
            out = model(prompt.input_ids[None], mm_token_type_ids=prompt.mm_token_type_ids[None], **inputs).logits
            out.square().mean().backward()
            results.append((out.detach(), torch.cat([p.grad.flatten() for p in model.model.visual.parameters()])))
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-9)
        features = [encode_vision(model, [prompt])[0].vision for model in (one_by_one, at_once)]
        torch.testing.assert_close(features[0].clips, features[1].clips, rtol=0, atol=1e-9)


def test_clips_of_different_sizes_are_attended_to_slice_by_slice(folder, processor):
    model = load_model(folder, "float64")
    use_branched_attention(model)
    clips = [Clip(np.full((4, side, 64, 3), side, np.uint8), np.arange(4.0)) for side in (32, 64)]
    prompt = encode(processor, Prompt("<video> and <video>", tuple(clips)))
    assert "video_slice_patches" not in packed_video_inputs(model, [prompt])
    group = Group(prompt, [torch.tensor([8, 9]), torch.tensor([9])])
    shared, repeated = (logps(model, [group], 0)[0] for logps in (shared_logps, repeated_logps))
    torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-9)
