"""The tiny random policy: a small untrained Qwen3-VL or Qwen3.5 with its own small tokenizer.

It is the policy of the default run. Classes, processor and files on disk are those of the published checkpoints; only
the sizes differ.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from videossr.models.encode_prompt import SYSTEM_PROMPT
from videossr.models.tiny_random_params import HEAD_WIDTH, TinyRandomParams
from videossr.records import VIDEO_MARKER

END_TOKEN, BEGIN_TOKEN, PAD_TOKEN = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for block in message.content %}"
    "{% if block.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ block.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# What the template and the processor put between special tokens; it stands in every prompt.
_TEMPLATE_PIECES = ("\n<", " seconds>", f"system\n{SYSTEM_PROMPT}", "\n", "user\n", "assistant\n")


def write_tiny_random(params: TinyRandomParams, texts: Iterable[str], seed: int, folder: Path) -> None:
    """Write a random checkpoint (model, tokenizer, processor) to `folder`.

    The tokenizer learns its merges from `texts` (questions and answers). The same arguments write the same bytes.
    """
    tokenizer = train_tokenizer(texts, params.vocabulary)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(_model_config(params, tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    write_processor(tokenizer, folder)


def write_processor(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Qwen3-VL processor with this tokenizer to `folder`."""
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, merge_size=2),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(patch_size=16, temporal_patch_size=2, merge_size=2),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of at most `vocabulary` tokens.

    Every digit is its own token, so that a number is always a sequence of the same ten tokens. Between digits, merges
    cross the borders of words: a question that recurs becomes a few tokens. `texts` are questions and answers; a piece
    ends where a video stands, as it does in a prompt.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD_TOKEN, BEGIN_TOKEN, END_TOKEN, *VISION_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces = [piece for text in texts for piece in text.split(VIDEO_MARKER)]
    tokenizer.train_from_iterator([*_TEMPLATE_PIECES * max(1, len(pieces) // 8), *pieces], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        padding_side="left",
        extra_special_tokens=dict(
            zip(("vision_start_token", "vision_end_token", "image_token", "video_token"), VISION_TOKENS, strict=True)
        ),
    )


def _model_config(params: TinyRandomParams, tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig | Qwen3_5Config:
    text, vision = _text_fields(params, tokenizer), _vision_fields(params)
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in VISION_TOKENS)
    shared = {
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "tie_word_embeddings": True,
    }
    if not params.linear_attention:
        vision = {**vision, "deepstack_visual_indexes": [0]}
        return Qwen3VLConfig(text_config=text, vision_config=vision, **shared)
    heads = params.text_width // HEAD_WIDTH
    linear = {"linear_num_key_heads": heads, "linear_num_value_heads": heads}
    widths = {"linear_key_head_dim": HEAD_WIDTH, "linear_value_head_dim": HEAD_WIDTH}
    return Qwen3_5Config(text_config={**text, **linear, **widths}, vision_config=vision, **shared)


def _text_fields(params: TinyRandomParams, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    # Qwen3.5 turns a quarter of each head by the position.
    section, turned = ([2, 1, 1], {"partial_rotary_factor": 0.25}) if params.linear_attention else ([6, 5, 5], {})
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": params.text_width,
        "intermediate_size": 3 * params.text_width,
        "num_hidden_layers": params.text_layers,
        "num_attention_heads": params.text_width // HEAD_WIDTH,
        "num_key_value_heads": params.text_width // HEAD_WIDTH,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": 8192,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": section,
            "mrope_interleaved": True,
            **turned,
        },
    }


def _vision_fields(params: TinyRandomParams) -> dict[str, Any]:
    return {
        "depth": params.vision_layers,
        "hidden_size": params.vision_width,
        "intermediate_size": 3 * params.vision_width,
        "num_heads": params.vision_width // HEAD_WIDTH,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": params.text_width,
        "num_position_embeddings": 64,
    }
