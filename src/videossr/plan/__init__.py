"""Estimate the cost of a training run before it starts, without a GPU, weights or videos.

The model is built on the meta device. The prompts are samples of the run's mixture, drawn on empty frames of the
largest size that the run allows. Operations are counted as torch's own counter does; memory is an estimate; the work of
the host is measured on this machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

from videossr.clip import Clip
from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.frames.sampling import SIZE_FACTOR, FramesParams
from videossr.models.policy import Prompt, render_prompt
from videossr.plan.architecture import Architecture, count_lora_parameters, meta_model, read_architecture
from videossr.plan.costs import BackwardPass, Operations, PromptSize, group_operations, mean_operations, prompt_size
from videossr.plan.host import host_seconds
from videossr.plan.memory import GpuLoad, has_shared_prefix, memory_by_kind
from videossr.records import FrameTimes
from videossr.train.params import TrainParams

__all__ = ["Plan", "plan_run"]

_VIDEO_SECONDS = 60.0  # length of the example videos: most of their time stamps have two digits before the point


@dataclass(frozen=True)
class Plan:
    """The estimated cost of a run.

    `visual_tokens` and `text_tokens` are means over the mixture's prompts; `longest_tokens` counts all tokens of its
    longest prompt. `memory` and `memory_at_limit` are bytes per GPU by kind, for completions of `completion_tokens` and
    for the longest allowed. `shared_operations` and `repeated_operations` are for one prompt with its group, when the
    prompt is computed once or with every completion. `host_seconds` are CPU-seconds for decoding and encoding a prompt,
    measured on this machine.
    """

    train: TrainParams
    architecture: Architecture
    trainable_parameters: int
    completion_tokens: int
    visual_tokens: float
    text_tokens: float
    longest_tokens: int
    memory: dict[str, float]
    memory_at_limit: dict[str, float]
    shared_operations: Operations
    repeated_operations: Operations
    host_seconds: float

    @property
    def has_shared_prefix(self) -> bool:
        """Whether the run computes a prompt once for all completions of its group."""
        return has_shared_prefix(self.train)

    @property
    def step_tokens(self) -> float:
        """Tokens of one step: every prompt once, and all its completions."""
        completions = self.train.grpo.group_size * self.completion_tokens
        return self.train.grpo.prompts_per_step * (self.visual_tokens + self.text_tokens + completions)

    @property
    def step_operations(self) -> float:
        """Operations of one step over all GPUs."""
        group = self.shared_operations if self.has_shared_prefix else self.repeated_operations
        return self.train.grpo.prompts_per_step * group.total

    def hours_at_tflops(self, tflops: float) -> float:
        """Hours for all steps when each of the run's GPUs reaches `tflops` effective TFLOP/s."""
        seconds = self.step_operations / (tflops * 1e12 * self.train.processes)
        return self.train.grpo.steps * seconds / 3600

    def hours_at_throughput(self, groups_per_second: float) -> float:
        """Hours for all steps when each of the run's GPUs processes `groups_per_second` prompts with their groups."""
        groups = self.train.grpo.steps * self.train.grpo.prompts_per_step
        return groups / (groups_per_second * self.train.processes) / 3600


def plan_run(frames: FramesParams, pretext: PretextParams, train: TrainParams, completion_tokens: int = 12) -> Plan:
    """Estimate the cost of a run whose completions are `completion_tokens` long on average.

    Raises ConfigError when a prompt or the completions exceed the run's limits, PolicyError when the sizes of the
    policy are unknown.
    """
    if not 1 <= completion_tokens <= train.grpo.max_completion_tokens:
        raise ConfigError(
            f"completions must be 1..{train.grpo.max_completion_tokens} tokens long "
            f"(train.grpo.max_completion_tokens), got {completion_tokens}"
        )
    prompts, shares = example_prompts(frames, pretext)
    model = meta_model(train.policy, train.tiny_random, [prompt.text for prompt in prompts])
    architecture = read_architecture(model, train.policy)
    sizes = [prompt_size(architecture.vision, prompt) for prompt in prompts]
    longest = _longest_prompt(sizes, train.grpo.max_prompt_tokens)
    trainable = _count_trainable(model, architecture, train)

    def memory(tokens: int) -> dict[str, float]:
        return memory_by_kind(architecture, train, GpuLoad(longest, tokens, trainable))

    def operations(shared: bool) -> Operations:
        backward = _backward_pass(train, trainable)
        has_reference = train.grpo.kl_coefficient > 0
        group = completion_tokens, train.grpo.group_size, backward
        per_prompt = [
            group_operations(architecture, size, *group, reference=has_reference, shared=shared) for size in sizes
        ]
        return mean_operations(per_prompt, shares)

    return Plan(
        train=train,
        architecture=architecture,
        trainable_parameters=trainable,
        completion_tokens=completion_tokens,
        visual_tokens=float(np.average([size.visual_tokens for size in sizes], weights=shares)),
        text_tokens=float(np.average([size.text_tokens for size in sizes], weights=shares)),
        longest_tokens=longest.tokens,
        memory=memory(completion_tokens),
        memory_at_limit=memory(train.grpo.max_completion_tokens),
        shared_operations=operations(shared=True),
        repeated_operations=operations(shared=False),
        host_seconds=host_seconds(prompts, shares, architecture.vision),
    )


def example_prompts(frames: FramesParams, pretext: PretextParams) -> tuple[list[Prompt], list[float]]:
    """One prompt of each kind in the mixture, on empty frames of the largest size, and the share of each kind."""
    side = isqrt(frames.max_pixels) // SIZE_FACTOR * SIZE_FACTOR
    times = np.linspace(frames.span[0] * _VIDEO_SECONDS, frames.span[1] * _VIDEO_SECONDS, frames.num_frames)
    empty = Clip(np.zeros((frames.num_frames, side, side, 3), np.uint8), times)
    store = {"video": empty, "donor": empty}
    shares = {kind: share for kind, share in pretext.train.mixture.items() if share > 0}
    prompts = []
    for kind in shares:
        name, _, variant = kind.partition("/")
        task = pretext.tasks[name]
        frame_times = FrameTimes("video", tuple(times.tolist()))
        sample = task.generate(frame_times, variant, np.random.default_rng(0), ("donor",))
        prompts.append(render_prompt(sample, task, store))
    return prompts, list(shares.values())


def _longest_prompt(sizes: Sequence[PromptSize], limit: int) -> PromptSize:
    longest = max(sizes, key=lambda size: size.tokens)
    if longest.tokens > limit:
        raise ConfigError(
            f"train.grpo.max_prompt_tokens is {limit}, but the mixture has prompts of about {longest.tokens} tokens: "
            "use fewer or smaller frames, or raise the limit"
        )
    return longest


def _count_trainable(model: Any, architecture: Architecture, train: TrainParams) -> int:
    if train.lora:
        return count_lora_parameters(model, train.lora)
    return architecture.text.parameters if train.freeze_vision else architecture.parameters


def _backward_pass(train: TrainParams, trainable: int) -> BackwardPass:
    return BackwardPass(
        trains_vision=not train.freeze_vision and not train.lora,
        adapter_weights=trainable if train.lora else 0,
        recomputes_layers=train.grpo.gradient_checkpointing,
    )
