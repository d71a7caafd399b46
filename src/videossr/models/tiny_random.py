"""The tiny random policy: a small untrained Qwen3-VL with its own small tokenizer.

It is the policy of the default run. Classes, processor and files on disk are those of the published checkpoints; only
the sizes differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from videossr.models.encode_prompt import SYSTEM_PROMPT

END_TOKEN, BEGIN_TOKEN, PAD_TOKEN = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for block in message.content %}"
    "{% if block.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ block.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyRandomParams:
    """Sizes of the tiny random policy. The defaults give about 1.5 million parameters."""

    text_width: int = 128
    text_layers: int = 4
    vision_width: int = 96
    vision_layers: int = 2
    vocabulary: int = 512


def write_tiny_random(params: TinyRandomParams, texts: Iterable[str], seed: int, folder: Path) -> None:
    """Write a random checkpoint (model, tokenizer, processor) to `folder`.

    The tokenizer learns its merges from `texts` (questions and answers). The same arguments write the same bytes.
    """
    tokenizer = train_tokenizer(texts, params.vocabulary)
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(_model_config(params, tokenizer))
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

    Every digit is its own token, so that a number is always a sequence of the same ten tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD_TOKEN, BEGIN_TOKEN, END_TOKEN, *VISION_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SYSTEM_PROMPT, "system user assistant", " seconds>" * 8, *texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        padding_side="left",
        extra_special_tokens=dict(
            zip(("vision_start_token", "vision_end_token", "image_token", "video_token"), VISION_TOKENS, strict=True)
        ),
    )


def _model_config(params: TinyRandomParams, tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    head_width = 32
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in VISION_TOKENS)
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": params.text_width,
            "intermediate_size": 3 * params.text_width,
            "num_hidden_layers": params.text_layers,
            "num_attention_heads": params.text_width // head_width,
            "num_key_value_heads": params.text_width // head_width,
            "head_dim": head_width,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": params.vision_layers,
            "hidden_size": params.vision_width,
            "intermediate_size": 3 * params.vision_width,
            "num_heads": params.vision_width // head_width,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": params.text_width,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
