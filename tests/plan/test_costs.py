"""Tokens and operations in closed form equal what the processor makes and what torch counts."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.support import tiny_policy
from videossr.models.attention import use_branched_attention
from videossr.models.encode_prompt import encode
from videossr.models.policy import Prompt
from videossr.plan.architecture import meta_model, read_architecture
from videossr.plan.costs import (
    BackwardPass,
    Grid,
    PromptSize,
    group_operations,
    prompt_size,
    text_forward,
    vision_forward,
)
from videossr.train.prefix import Group, pack

COMPLETIONS, COMPLETION_TOKENS = 4, 5


@pytest.fixture(scope="module")
def prompts(tiny):
    """One prompt of every task, with its encoded form."""
    _, processor = tiny
    prompts = []
    for sample in tiny_policy.samples(4):
        clips = tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())
        prompt = Prompt(sample.question, tuple(clips))
        prompts.append((prompt, encode(processor, prompt)))
    return prompts


def count_operations(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_visual_tokens_are_exact_and_text_tokens_never_too_few(tiny, prompts):
    vision = read_architecture(tiny[0], "tiny").vision
    for prompt, encoded in prompts:
        size = prompt_size(vision, prompt)
        grids = [Grid(*grid) for grid in encoded.video_grid_thw.tolist()]
        assert list(size.clips) == grids
        assert size.visual_tokens == (encoded.mm_token_type_ids == 2).sum().item()
        # The tokenizer of the tiny policy merges across words; a published one does not (test_published_tokenizer).
        assert size.tokens >= 0.95 * len(encoded)


def test_the_vision_tower_has_the_operations_that_torch_counts(tiny, prompts):
    model, _ = tiny
    vision = read_architecture(model, "tiny").vision
    for prompt, encoded in prompts:
        pixels = encoded.pixel_values_videos, encoded.video_grid_thw
        counted = count_operations(lambda pixels=pixels: model.model.get_video_features(*pixels))
        assert vision_forward(vision, prompt_size(vision, prompt).clips) == counted


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_of_a_packed_row_has_the_operations_that_torch_counts(tiny, prompts, checkpointing):
    model, _ = tiny
    prompt, encoded = prompts[0]
    architecture = read_architecture(model, "tiny")
    use_branched_attention(model)
    packed = pack(model, [Group(encoded, [torch.arange(COMPLETION_TOKENS) + 20] * COMPLETIONS)], 0)

    def logits():
        return model(
            input_ids=packed.input_ids,
            position_ids=packed.positions,
            attention_mask=packed.mask,
            prefix_length=packed.prefix_length,
            pixel_values_videos=encoded.pixel_values_videos,
            video_grid_thw=encoded.video_grid_thw,
            logits_to_keep=COMPLETIONS * COMPLETION_TOKENS,
            use_cache=False,
        ).logits

    size = prompt_size(architecture.vision, prompt)
    exact_size = dataclasses.replace(size, text_tokens=len(encoded) - size.visual_tokens)
    backward = BackwardPass(trains_vision=True, adapter_weights=0, recomputes_layers=checkpointing)
    operations = group_operations(
        architecture, exact_size, COMPLETION_TOKENS, COMPLETIONS, backward, reference=True, shared=True
    )
    # TRL's output layer computes its scores twice; this test uses the model's own, which does not.
    recomputed_scores = 2 * architecture.text.head * COMPLETIONS * COMPLETION_TOKENS
    model.train()
    model.gradient_checkpointing_enable() if checkpointing else model.gradient_checkpointing_disable()
    with sdpa_kernel(SDPBackend.MATH):  # torch does not count the operations of the CPU's fused attention
        assert operations.reference == pytest.approx(count_operations(logits), rel=0.03)
        loss = count_operations(lambda: logits().sum().backward())
        assert operations.loss - recomputed_scores == pytest.approx(loss, rel=0.03)
    model.gradient_checkpointing_disable()
    model.set_attn_implementation("eager")


def test_operations_follow_the_token_counts_of_shared_and_repeated_prompts(tiny):
    """Where the square of attention is small, the ratio is G(P + C) / (P + GC)."""
    architecture = read_architecture(tiny[0], "tiny")
    size = PromptSize((), 0, 100)
    backward = BackwardPass(trains_vision=False, adapter_weights=0, recomputes_layers=False)
    shared, repeated = (
        group_operations(architecture, size, 10, 8, backward, reference=True, shared=shared) for shared in (True, False)
    )
    linear = architecture.text.linear
    attention = 4 * architecture.text.layers * architecture.text.heads * architecture.text.head_width
    head = 2 * architecture.text.head * 80
    assert shared.reference == 2 * linear * 180 + attention * (100**2 + 80 * 180) + head
    assert repeated.reference == 8 * (2 * linear * 110 + attention * 110**2) + head


def test_frozen_weights_halve_the_backward_pass_of_their_matrices(tiny):
    architecture = read_architecture(tiny[0], "tiny")
    size = PromptSize((), 0, 100)

    def loss(adapter_weights):
        backward = BackwardPass(trains_vision=False, adapter_weights=adapter_weights, recomputes_layers=False)
        return group_operations(architecture, size, 10, 8, backward, reference=True, shared=True).loss

    one_adapter_weight = 2 * 3 * 180  # forward, gradient of the input, gradient of the weight; 180 tokens
    assert loss(0) - loss(1) == text_forward(architecture, 180, 0, 80) - one_adapter_weight


def test_windowed_layers_count_the_pairs_within_each_window():
    vision = read_architecture(meta_model("Qwen/Qwen2.5-VL-7B-Instruct", tiny_policy.TINY, []), "x").vision
    without_windows = dataclasses.replace(vision, full_layers=vision.layers)
    clip = [Grid(1, 20, 8)]  # windows of 8x8, 8x8 and 4x8 patches
    pairs = 160**2 - (2 * 64**2 + 32**2)
    saved = 4 * vision.width * (vision.layers - vision.full_layers) * pairs
    assert vision_forward(without_windows, clip) - vision_forward(vision, clip) == saved
