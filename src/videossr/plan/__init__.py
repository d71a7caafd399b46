"""What a run will cost, before it costs anything: no GPU, no weights, no videos.

The model is built on the meta device, and the puzzles of the run's mixture are drawn on empty frames of the largest
size that the run allows; the rest is arithmetic. Operations are those of torch's own counter, memory is an estimate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

from videossr.clip import Clip
from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.frames.sampling import SIZE_FACTOR, FramesParams
from videossr.models.policy import Prompt, render_prompt
from videossr.plan.architecture import Architecture, lora_parameters, measure, meta_model
from videossr.plan.costs import Learning, PromptSize, Work, group_work, mean_work, prompt_size
from videossr.plan.memory import Load, by_kind
from videossr.records import FrameTimes
from videossr.train.params import TrainParams

__all__ = ["Plan", "plan_run"]

_SECONDS = 60.0  # length of the pretended videos: most time stamps then have two digits before the point


@dataclass(frozen=True)
class Plan:
    """The cost of a run.

    `visual_tokens` and `text_tokens` are those of the mixture's mean prompt, `longest_tokens` all those of its longest.
    `memory` and `memory_at_limit` are bytes a GPU by kind, for completions of `completion_tokens` and for the longest
    that are allowed. `shared` and `repeated` are operations of one prompt with its group, paying for the prompt once or
    with every completion; `sharing` tells which of them the run does.
    """

    train: TrainParams
    architecture: Architecture
    trainable: int
    completion_tokens: int
    visual_tokens: float
    text_tokens: float
    longest_tokens: int
    memory: dict[str, float]
    memory_at_limit: dict[str, float]
    shared: Work
    repeated: Work

    @property
    def sharing(self) -> bool:
        return self.train.shared_prefix != "off"

    @property
    def step_tokens(self) -> float:
        """Tokens in one step: every prompt once, and its completions."""
        answers = self.train.grpo.group_size * self.completion_tokens
        return self.train.grpo.prompts_per_step * (self.visual_tokens + self.text_tokens + answers)

    @property
    def step_operations(self) -> float:
        """Operations of one step over all GPUs."""
        return self.train.grpo.prompts_per_step * (self.shared if self.sharing else self.repeated).total

    def hours(self, tflops: float) -> float:
        """Hours of all steps, at `tflops` effective TFLOP/s on each of the run's GPUs."""
        seconds = self.step_operations / (tflops * 1e12 * self.train.processes)
        return self.train.grpo.steps * seconds / 3600

    def hours_at(self, groups_per_second: float) -> float:
        """Hours of all steps, at so many prompts with their groups a second on each of the run's GPUs."""
        return (
            self.train.grpo.steps * self.train.grpo.prompts_per_step / (groups_per_second * self.train.processes) / 3600
        )


def plan_run(frames: FramesParams, pretext: PretextParams, train: TrainParams, completion_tokens: int = 12) -> Plan:
    """Work out the plan of a run whose completions are `completion_tokens` long on average.

    Raises ConfigError where a prompt is longer than the run allows, PolicyError where nothing is known of the policy.
    """
    if not 1 <= completion_tokens <= train.grpo.max_completion_tokens:
        raise ConfigError(
            f"completions must be 1..{train.grpo.max_completion_tokens} tokens long "
            f"(train.grpo.max_completion_tokens), got {completion_tokens}"
        )
    prompts, shares = example_prompts(frames, pretext)
    model = meta_model(train.policy, train.tiny_random, [prompt.text for prompt in prompts])
    architecture = measure(model, train.policy)
    sizes = [prompt_size(architecture.vision, prompt) for prompt in prompts]
    longest = _longest(sizes, train.grpo.max_prompt_tokens)
    trainable = _trainable(model, architecture, train)

    def load(tokens: int) -> dict[str, float]:
        return by_kind(architecture, train, Load(longest, tokens, trainable))

    def work(shared: bool) -> Work:
        learning = _learning(train, trainable)
        reference = train.grpo.kl_coefficient > 0
        sized = (completion_tokens, train.grpo.group_size, learning)
        each = [group_work(architecture, size, *sized, reference=reference, shared=shared) for size in sizes]
        return mean_work(each, shares)

    return Plan(
        train=train,
        architecture=architecture,
        trainable=trainable,
        completion_tokens=completion_tokens,
        visual_tokens=float(np.average([size.visual_tokens for size in sizes], weights=shares)),
        text_tokens=float(np.average([size.text_tokens for size in sizes], weights=shares)),
        longest_tokens=longest.tokens,
        memory=load(completion_tokens),
        memory_at_limit=load(train.grpo.max_completion_tokens),
        shared=work(True),
        repeated=work(False),
    )


def example_prompts(frames: FramesParams, pretext: PretextParams) -> tuple[list[Prompt], list[float]]:
    """One prompt of each kind in the mixture, on empty frames of the largest size, and the kinds' shares."""
    side = isqrt(frames.max_pixels) // SIZE_FACTOR * SIZE_FACTOR
    times = np.linspace(frames.span[0] * _SECONDS, frames.span[1] * _SECONDS, frames.num_frames)
    empty = Clip(np.zeros((frames.num_frames, side, side, 3), np.uint8), times)
    store = {"video": empty, "donor": empty}
    kinds = {kind: share for kind, share in pretext.train.mixture.items() if share > 0}
    prompts = []
    for kind in kinds:
        name, _, variant = kind.partition("/")
        task = pretext.tasks[name]
        footage = FrameTimes("video", tuple(times.tolist()))
        sample = task.generate(footage, variant, np.random.default_rng(0), ("donor",))
        prompts.append(render_prompt(sample, task, store))
    return prompts, list(kinds.values())


def _longest(sizes: Iterable[PromptSize], limit: int) -> PromptSize:
    longest = max(sizes, key=lambda size: size.tokens)
    if longest.tokens > limit:
        raise ConfigError(
            f"train.grpo.max_prompt_tokens is {limit}, and the mixture has prompts of about {longest.tokens} tokens: "
            "show fewer or smaller frames, or raise it"
        )
    return longest


def _trainable(model: Any, architecture: Architecture, train: TrainParams) -> int:
    if train.lora:
        return lora_parameters(model, train.lora)
    return architecture.text.parameters if train.freeze_vision else architecture.parameters


def _learning(train: TrainParams, trainable: int) -> Learning:
    return Learning(
        vision=not train.freeze_vision and not train.lora,
        adapter_weights=trainable if train.lora else 0,
        recomputes=train.grpo.gradient_checkpointing,
    )
