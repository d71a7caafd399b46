"""Sample G completions of each prompt, prefilling every prompt once."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from videossr.qwen import Encoded, backbone, left_padded


def shared_rollout(
    model: Any, prompts: Sequence[Encoded], group_size: int, config: GenerationConfig, pad_token_id: int
) -> torch.Tensor:
    """Sample `group_size` completions of each prompt: int64 [prompts * group_size, C], a prompt's rows together.

    The vision tower and the prefill run once a prompt; the key-value cache is then repeated for the group. Beyond the
    first end-of-sequence token a row holds padding. The distribution is that of sampling each row on its own.
    """
    batch = left_padded(model, prompts, pad_token_id)
    tokens, base = batch.tokens, backbone(model)
    # Generation wants at least one token outside the cache: everything but the last goes in now.
    stem = {name: tokens[name][:, :-1] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    base.rope_deltas = None
    prefilled = model(
        **stem,
        **batch.videos,
        use_cache=True,
        logits_to_keep=1,
    )
    cache = prefilled.past_key_values
    cache.batch_repeat_interleave(group_size)
    base.rope_deltas = base.rope_deltas.repeat_interleave(group_size, dim=0)
    ids = tokens["input_ids"].repeat_interleave(group_size, dim=0)
    out = model.generate(
        input_ids=ids,
        attention_mask=tokens["attention_mask"].repeat_interleave(group_size, dim=0),
        past_key_values=cache,
        generation_config=config,
    )
    return out[:, ids.shape[1] :]


def repeated_rollout(
    model: Any, prompts: Sequence[Encoded], group_size: int, config: GenerationConfig, pad_token_id: int
) -> torch.Tensor:
    """The same as `shared_rollout` done the usual way: every row prefills its own copy of prompt and video."""
    batch = left_padded(model, [prompt for prompt in prompts for _ in range(group_size)], pad_token_id)
    out = model.generate(**batch.tokens, **batch.videos, generation_config=config)
    return out[:, batch.tokens["input_ids"].shape[1] :]
