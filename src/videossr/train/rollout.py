"""Sample G completions of each prompt, with one prefill a prompt."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor

from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import backbone, pad_left
from videossr.train.prompt_builder import EncodedSample
from videossr.train.reward import CompletionScore, has_variance

Completion = list[int]  # token ids, up to and with the end token


@dataclass(frozen=True)
class RolloutGroup:
    """One sample with its G completions, their scores, and the smooth reward of the best blind answer to its task."""

    encoded: EncodedSample
    completions: Sequence[Completion]
    scores: Sequence[CompletionScore]
    blind_floor: float

    @property
    def task(self) -> str:
        return self.encoded.sample.task

    @property
    def rewards(self) -> list[float]:
        return [score.reward for score in self.scores]

    @property
    def has_variance(self) -> bool:
        """Whether the rewards differ; a group without variance has no gradient."""
        return has_variance(self.rewards)

    @property
    def mean_smooth_reward(self) -> float:
        return sum(score.smooth for score in self.scores) / len(self.scores)

    def rows(self) -> list[Mapping[str, Any]]:
        """What TRL is given: one row a completion. `prompt` holds the sample's id; the tokens are in this record."""
        return [
            {
                "prompt": self.encoded.sample.sample_id,
                "task": self.task,
                "reward": score.reward,
                "smooth": score.smooth,
                "is_parsed": score.is_parsed,
                "blind_floor": self.blind_floor,
            }
            for score in self.scores
        ]


def shared_rollout(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    config: GenerationConfig,
    pad_token_id: int,
    seeds: Sequence[int] | None = None,
    synced: bool = False,
) -> torch.Tensor:
    """Sample `group_size` completions of each prompt: int64 [prompts * group_size, C], a prompt's rows together.

    The vision tower and the prefill run once a prompt; the key-value cache is then repeated for the group. After its
    first end token a row holds padding. The distribution is that of sampling each row on its own. With `seeds`, one a
    prompt, a group depends on its own seed and not on the prompts beside it. `synced` keeps processes that hold shards
    of one model in step until the last of them has ended.
    """
    batch = pad_left(model, prompts, pad_token_id)
    tokens, base = batch.tokens, backbone(model)
    # `generate` wants at least one token outside the cache, so the prefill takes all but the last.
    prefix = {name: tokens[name][:, :-1] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    base.rope_deltas = None
    cache = model(**prefix, **batch.videos, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(group_size)
    base.rope_deltas = base.rope_deltas.repeat_interleave(group_size, dim=0)
    ids = tokens["input_ids"].repeat_interleave(group_size, dim=0)
    out = model.generate(
        input_ids=ids,
        attention_mask=tokens["attention_mask"].repeat_interleave(group_size, dim=0),
        past_key_values=cache,
        synced_gpus=synced,
        **_sampling_options(config, seeds, group_size, ids.device),
    )
    return out[:, ids.shape[1] :]


def repeated_rollout(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    config: GenerationConfig,
    pad_token_id: int,
    seeds: Sequence[int] | None = None,
    synced: bool = False,
) -> torch.Tensor:
    """The same as `shared_rollout` without a shared prefix: every row prefills its own copy of prompt and video."""
    batch = pad_left(model, [prompt for prompt in prompts for _ in range(group_size)], pad_token_id)
    options = _sampling_options(config, seeds, group_size, batch.tokens["input_ids"].device)
    out = model.generate(**batch.tokens, **batch.videos, synced_gpus=synced, **options)
    return out[:, batch.tokens["input_ids"].shape[1] :]


def truncate_at_end(row: Completion, end_ids: Sequence[int]) -> Completion:
    """A completion up to and with its first end token."""
    for position, token in enumerate(row):
        if token in end_ids:
            return row[: position + 1]
    return row


def _sampling_options(
    config: GenerationConfig, seeds: Sequence[int] | None, group_size: int, device: torch.device
) -> dict[str, Any]:
    """Arguments of `generate`: sampling from torch's global generator, or from one generator a group."""
    if seeds is None:
        return {"generation_config": config}
    greedy = copy.deepcopy(config)
    greedy.do_sample, greedy.temperature, greedy.top_k, greedy.top_p = False, None, None, None
    temperature = 1.0 if config.temperature is None else config.temperature
    noise = SeededGumbelNoise(seeds, group_size, temperature, device)
    return {"generation_config": greedy, "logits_processor": [noise]}


class SeededGumbelNoise(LogitsProcessor):
    """Sampling as a greedy choice among noisy logits (the Gumbel trick); the noise of a group comes from its seed."""

    def __init__(self, seeds: Sequence[int], group_size: int, temperature: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.group_size = group_size
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Add noise to the logits `scores` [groups * group_size, vocabulary]."""
        shape = (self.group_size, scores.shape[-1])
        exponential = [torch.empty(shape, device=scores.device).exponential_(generator=g) for g in self.generators]
        return scores.float() / self.temperature - torch.cat(exponential).log()
