"""The passes of a GRPO step on a GPU, for a published architecture with random bfloat16 weights.

Each side has its own batch size: with a shared prefix `GROUPS_PER_FORWARD` in the loss and `ROLLOUT_PROMPTS` in the
rollout, without one a single group (eight rows of prompt and completion) and `REPEATED_PROMPTS`. Seconds are those of
one group. The update of the weights is not in `groups`: it costs the same.
"""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from trl.trainer.utils import add_fused_lm_head, get_peak_flops

from bench.rows import Row
from bench.step_parts import (
    COMPLETION,
    FRAMES,
    GROUP,
    SIDE,
    Subject,
    forward,
    forward_backward,
    forward_backward_dense,
    roll_out,
    time_pairs,
)
from videossr.models.attention import use_branched_attention
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.generation import generate_branches, generate_rows
from videossr.train.prefix import repeated_logps, shared_logps

GROUPS_PER_FORWARD, ROLLOUT_PROMPTS, REPEATED_PROMPTS = 4, 16, 4


def compare_gpu(name: str, config: Any, repeats: int, frames: int = FRAMES, side: int = SIDE) -> list[Row]:
    """Rows of an architecture: seconds of each pass, groups a second of all passes, peak memory."""
    subject = random_subject(config, frames, side)
    label = gpu_label(name)
    passes: dict[str, tuple[Callable[[], None], int, Callable[[], None], int]] = {
        "fwd_bwd": (
            lambda: forward_backward(subject, shared_logps, GROUPS_PER_FORWARD),
            GROUPS_PER_FORWARD,
            lambda: forward_backward(subject, repeated_logps),
            1,
        ),
        "reference": (
            lambda: forward(subject, shared_logps, GROUPS_PER_FORWARD),
            GROUPS_PER_FORWARD,
            lambda: forward(subject, repeated_logps),
            1,
        ),
        "rollout": (
            lambda: roll_out(subject, generate_branches, ROLLOUT_PROMPTS),
            ROLLOUT_PROMPTS,
            lambda: roll_out(subject, generate_rows, REPEATED_PROMPTS),
            REPEATED_PROMPTS,
        ),
    }
    rows, peaks = [], []
    for part, (ours, our_groups, theirs, their_groups) in passes.items():
        subject.model.zero_grad(set_to_none=True)
        peaks.append((peak_memory(ours), peak_memory(theirs)))
        our_seconds, their_seconds, _ = time_pairs(ours, theirs, repeats)
        our_group, their_group = our_seconds / our_groups, their_seconds / their_groups
        rows.append(Row(f"{label}_{part}", our_group, their_group, their_group / our_group, "s a group"))
    timing = time_pairs(
        lambda: forward_backward(subject, shared_logps), lambda: forward_backward_dense(subject), repeats
    )
    attention = Row(f"{label}_attention", *timing, "s a group, in two passes against one dense mask")
    return [*rows, attention, *_throughput_rows(label, subject, rows), _memory_row(label, peaks)]


def gpu_label(name: str) -> str:
    """The prefix of an architecture's rows, such as gpu_qwen3_vl_2b."""
    return f"gpu_{name.rpartition('/')[2].lower().removesuffix('-instruct').replace('-', '_')}"


def random_subject(config: Any, frames: int = FRAMES, side: int = SIDE) -> Subject:
    """A model of this configuration with random bfloat16 weights, ready to train, and a prompt for it."""
    release_memory()
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_branched_attention(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return Subject(model.train(), synthetic_prompt(config, frames, side), config.text_config.vocab_size)


def release_memory() -> None:
    """Return the memory of models that are no longer used to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _throughput_rows(label: str, subject: Subject, rows: Sequence[Row]) -> list[Row]:
    """Groups and tokens a second over all passes, and the share of the device's peak that is used.

    Useful operations are those that the shared prefix needs, for each parameter and token: 2 in each of the three
    forward passes (loss, reference, rollout) and 4 in the backward pass, 10 in all.
    """
    ours, theirs = (1 / sum(getattr(row, side) for row in rows) for side in ("ours", "theirs"))
    tokens = len(subject.prompt) + GROUP * COMPLETION
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    throughput = [
        Row(f"{label}_groups", ours, theirs, ours / theirs, "groups/s"),
        Row(f"{label}_tokens", ours * tokens, theirs * tokens, ours / theirs, "distinct tokens/s"),
    ]
    peak = get_peak_flops(torch.cuda.get_device_name(), "bfloat16") if torch.cuda.is_available() else None
    if peak:
        share = 10 * parameters * tokens / peak
        unit = "of the device's bf16 peak"
        throughput.append(Row(f"{label}_mfu", ours * share, theirs * share, ours / theirs, unit))
    return throughput


def peak_memory(work: Callable[[], object]) -> float:
    """Run `work`; returns the peak GiB of device memory, NaN without CUDA."""
    if not torch.cuda.is_available():
        work()
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def _memory_row(label: str, peaks: Sequence[tuple[float, float]]) -> Row:
    ours, theirs = (max(peak[side] for peak in peaks) for side in (0, 1))
    unit = "GiB, weights and gradients in bfloat16, no optimizer"
    return Row(f"{label}_peak_memory", ours, theirs, theirs / ours, unit)


def synthetic_prompt(config: Any, frames: int, side: int) -> EncodedPrompt:
    """A prompt of random tokens and pixels with the processor's layout. Needs no tokenizer."""
    vision = config.vision_config
    grid = side // vision.patch_size
    slices, tokens = frames // vision.temporal_patch_size, (grid // vision.spatial_merge_size) ** 2
    generator = torch.Generator().manual_seed(0)

    def text(count: int) -> torch.Tensor:
        return torch.randint(7, 1000 if config.text_config.vocab_size > 1000 else 200, (count,), generator=generator)

    start, end = torch.tensor([config.vision_start_token_id]), torch.tensor([config.vision_end_token_id])
    video = torch.full((tokens,), config.video_token_id)
    timed_slices = [part for _ in range(slices) for part in (text(8), start, video, end)]
    ids = torch.cat([text(40), *timed_slices, text(50)])
    pixels = torch.randn(
        slices * grid * grid,
        vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        generator=generator,
    )
    return EncodedPrompt(ids, 2 * (ids == config.video_token_id).long(), pixels, torch.tensor([[slices, grid, grid]]))
