"""Checkpoints of every family of models that training supports, each with a few hundred thousand random parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from tests.support import tiny_policy
from videossr.models.tiny_random import CHAT_TEMPLATE, VISION_TOKENS, train_tokenizer, write_processor

WIDTH = 64
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
HYBRID = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
VISION = {
    "depth": 2,
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_heads": 2,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": WIDTH,
    "num_position_embeddings": 64,
}
Token = PreTrainedTokenizerFast


def _text(tokenizer: Token, layers: int, **fields: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        **fields,
    }


def _qwen2_5_vl(tokenizer: Token, tokens: dict[str, int], **text: Any) -> Any:
    rope = {**ROPE, "mrope_section": [6, 5, 5]}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "rope_parameters": rope}
    fields = _text(tokenizer, 2, **heads, **text)
    del fields["head_dim"]
    windows = {"window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2}
    sizes = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": WIDTH}
    config = Qwen2_5_VLConfig(
        text_config=fields, vision_config={**sizes, **windows}, **tokens, tie_word_embeddings=True
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen2_5_vl_windowed(tokenizer: Token, tokens: dict[str, int]) -> Any:
    return _qwen2_5_vl(tokenizer, tokens, use_sliding_window=True, sliding_window=8, max_window_layers=1)


def _qwen3_vl_moe(tokenizer: Token, tokens: dict[str, int]) -> Any:
    rope = {**ROPE, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = _text(tokenizer, 2, **EXPERTS, decoder_sparse_step=1, rope_parameters=rope)
    vision = {**VISION, "deepstack_visual_indexes": [0]}
    return Qwen3VLMoeForConditionalGeneration(
        Qwen3VLMoeConfig(text_config=text, vision_config=vision, **tokens, tie_word_embeddings=True)
    )


def _qwen3_5(tokenizer: Token, tokens: dict[str, int]) -> Any:
    rope = {**ROPE, "mrope_section": [1, 1, 0], "mrope_interleaved": True, "partial_rotary_factor": 0.25}
    text = _text(tokenizer, 3, **HYBRID, rope_parameters=rope)
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=VISION, **tokens))


def _qwen3_5_moe(tokenizer: Token, tokens: dict[str, int]) -> Any:
    rope = {**ROPE, "mrope_section": [1, 1, 0], "mrope_interleaved": True, "partial_rotary_factor": 0.25}
    text = _text(tokenizer, 3, **HYBRID, **EXPERTS, shared_expert_intermediate_size=64, rope_parameters=rope)
    return Qwen3_5MoeForConditionalGeneration(Qwen3_5MoeConfig(text_config=text, vision_config=VISION, **tokens))


FAMILIES: dict[str, Callable[[Token, dict[str, int]], Any]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "qwen3_5": _qwen3_5,
    "qwen3_5_moe": _qwen3_5_moe,
    "qwen2_5_vl_windowed": _qwen2_5_vl_windowed,
}


def write_family(name: str, folder: Path) -> Path:
    """Write a random checkpoint of a family of `FAMILIES`, or of `qwen3_vl`, with its processor."""
    if name == "qwen3_vl":
        return tiny_policy.write_tiny(folder)
    tokenizer = train_tokenizer([f"{s.question} {s.answer}" for s in tiny_policy.samples(32)], 512)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    tokens = dict(zip(names, map(tokenizer.convert_tokens_to_ids, VISION_TOKENS), strict=True))
    torch.manual_seed(0)
    model = FAMILIES[name](tokenizer, tokens)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    if not name.startswith("qwen2_5"):
        write_processor(tokenizer, folder)
        return folder
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder
