"""Sample G completions of each prompt, prefilling every prompt once."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor

from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import backbone, pad_left


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

    The vision tower and the prefill run once a prompt; the key-value cache is then repeated for the group. Beyond the
    first end-of-sequence token a row holds padding. The distribution is that of sampling each row on its own. With
    `seeds`, one a prompt, a group's completions depend on its seed alone and not on what is sampled beside it.
    `synced` keeps processes that hold shards of one model in step until the last of them has ended.
    """
    batch = pad_left(model, prompts, pad_token_id)
    tokens, base = batch.tokens, backbone(model)
    # Generation wants at least one token outside the cache: everything but the last goes in now.
    stem = {name: tokens[name][:, :-1] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    base.rope_deltas = None
    prefilled = model(**stem, **batch.videos, use_cache=True, logits_to_keep=1)
    cache = prefilled.past_key_values
    cache.batch_repeat_interleave(group_size)
    base.rope_deltas = base.rope_deltas.repeat_interleave(group_size, dim=0)
    ids = tokens["input_ids"].repeat_interleave(group_size, dim=0)
    out = model.generate(
        input_ids=ids,
        attention_mask=tokens["attention_mask"].repeat_interleave(group_size, dim=0),
        past_key_values=cache,
        synced_gpus=synced,
        **_sampling(config, seeds, group_size, ids.device),
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
    """The same as `shared_rollout` done the usual way: every row prefills its own copy of prompt and video."""
    batch = pad_left(model, [prompt for prompt in prompts for _ in range(group_size)], pad_token_id)
    sampling = _sampling(config, seeds, group_size, batch.tokens["input_ids"].device)
    out = model.generate(**batch.tokens, **batch.videos, synced_gpus=synced, **sampling)
    return out[:, batch.tokens["input_ids"].shape[1] :]


def _sampling(
    config: GenerationConfig, seeds: Sequence[int] | None, group_size: int, device: torch.device
) -> dict[str, Any]:
    if seeds is None:
        return {"generation_config": config}
    greedy = copy.deepcopy(config)
    greedy.do_sample, greedy.temperature, greedy.top_k, greedy.top_p = False, None, None, None
    temperature = 1.0 if config.temperature is None else config.temperature
    noise = SeededNoise(seeds, group_size, temperature, device)
    return {"generation_config": greedy, "logits_processor": [noise]}


class SeededNoise(LogitsProcessor):
    """Sampling as a greedy choice among noisy logits (the Gumbel trick), the noise of each group from its own seed."""

    def __init__(self, seeds: Sequence[int], group_size: int, temperature: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.group_size = group_size
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        shape = (self.group_size, scores.shape[-1])
        waits = [torch.empty(shape, device=scores.device).exponential_(generator=g) for g in self.generators]
        return scores.float() / self.temperature - torch.cat(waits).log()
