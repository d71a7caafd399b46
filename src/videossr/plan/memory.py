"""The memory of one GPU by kind, in bytes: closed forms over the sizes of the model and of a micro-batch.

The forms follow what the eager modules of transformers save for the backward pass with a fused attention kernel. Tests
compare them with what torch saves for a small model. Kernel workspace and fragmentation of the allocator are not
included.
"""

from dataclasses import dataclass

from videossr.plan.architecture import Architecture, TextSizes, VisionSizes
from videossr.plan.costs import PromptSize
from videossr.train.launch import is_sharded
from videossr.train.params import TrainParams

BF16, FP32 = 2, 4  # bytes per value
# Kinds of memory that a GPU holds during the whole run; the other kinds are held during one pass.
PERSISTENT = ("weights", "copies for autocast", "gradients", "optimizer", "reference")
# TRL's fused output layer computes scores in tiles of so many columns of the vocabulary and so many tokens.
_HEAD_TILE_COLUMNS = 32768
_HEAD_TILE_TOKENS = 4096
_BLOCK_8BIT = 256  # values that share one float32 scale in an 8-bit optimizer


@dataclass(frozen=True)
class Precision:
    """Bytes per value of trainable weights, of frozen weights, and of activations.

    `autocast`: float32 weights are cast to bfloat16 for every matrix, and hidden states stay float32.
    """

    trainable: int
    frozen: int
    compute: int
    autocast: bool = False

    @property
    def hidden(self) -> int:
        """Bytes per value of hidden states and of attention keys.

        Under autocast both are float32, because a norm with float32 weights returns float32.
        """
        return FP32 if self.autocast else self.compute


def run_precision(train: TrainParams) -> Precision:
    """The precision of a run: FSDP shards float32 weights and computes with bfloat16 copies; adapters are float32."""
    compute = BF16 if train.grpo.bf16 else FP32
    if train.lora:
        return Precision(FP32, compute, compute)
    weights = BF16 if train.grpo.bf16 and train.grpo.weights == "bfloat16" else FP32
    if is_sharded(train):
        return Precision(FP32, weights, compute)
    return Precision(weights, weights, compute, autocast=weights != compute)


def text_layer_bytes(text: TextSizes, precision: Precision) -> int:
    """Bytes per token that one decoder layer saves for its backward pass."""
    queries, keys = text.heads * text.head_width, text.kv_heads * text.head_width
    norms = 2 * (FP32 + precision.hidden) * text.width + (FP32 + precision.compute) * (queries + keys)
    inputs = (5 if precision.autocast else 2) * text.width  # autocast casts its input again for every matrix
    attention = 4 * queries  # queries, the output, and keys and values repeated for all heads
    return norms + precision.compute * (inputs + attention + 4 * text.inner_width)


def vision_layer_bytes(vision: VisionSizes, precision: Precision) -> int:
    """Bytes per patch that one layer of the vision tower saves for its backward pass."""
    inner_tensors = 4 if vision.window else 2  # the MLP of Qwen2.5-VL is gated
    activations = 9 * vision.width + inner_tensors * vision.inner_width
    return 2 * precision.hidden * vision.width + precision.compute * activations


@dataclass(frozen=True)
class RowBytes:
    """Bytes held between forward and backward pass of one row, without and with gradient checkpointing.

    `all_layers` is what all layers save, `layer_inputs` the input of every layer alone, `largest_layer` all that one
    layer saves while it is computed again. `shared` is held in both cases: mask, pixels, mergers.
    """

    all_layers: int
    layer_inputs: int
    largest_layer: int
    shared: int


def row_bytes(
    architecture: Architecture, prompt: PromptSize, tokens: int, precision: Precision, *, trains_vision: bool
) -> RowBytes:
    """Bytes of one row of `tokens`, which include its prompt."""
    text, vision, hidden = architecture.text, architecture.vision, precision.hidden
    text_layer = tokens * text_layer_bytes(text, precision)
    attention_mask = (tokens - prompt.tokens) * tokens  # of the completions, one byte per pair
    text_inputs = tokens * text.layers * hidden * text.width
    if not trains_vision:
        return RowBytes(text.layers * text_layer, text_inputs, text_layer, attention_mask)
    vision_layer = prompt.patches * vision_layer_bytes(vision, precision)
    merger_bytes = vision.mergers * prompt.visual_tokens * 4 * precision.compute * vision.width * vision.merge**2
    pixel_bytes = prompt.patches * vision.embedding // vision.width * precision.compute
    return RowBytes(
        all_layers=text.layers * text_layer + vision.layers * vision_layer,
        layer_inputs=text_inputs + prompt.patches * vision.layers * hidden * vision.width,
        largest_layer=max(text_layer, vision_layer),
        shared=attention_mask + merger_bytes + pixel_bytes,
    )


def activation_bytes(row: RowBytes, rows: int, tile: int, *, checkpointing: bool) -> int:
    """Most bytes held at one time between forward and backward pass of `rows` rows.

    `tile` is what the output layer needs beside them. With checkpointing, a layer is computed again when that is free.
    """
    if checkpointing:
        return rows * (row.shared + row.layer_inputs) + max(rows * row.largest_layer, tile)
    return rows * (row.shared + row.all_layers) + tile


def vision_feature_bytes(architecture: Architecture, prompt: PromptSize, prompts: int, precision: Precision) -> int:
    """Bytes of the features of `prompts` prompts, which a step keeps where the vision tower is not trained."""
    values = prompt.visual_tokens * architecture.text.width * architecture.vision.mergers
    return prompts * values * precision.compute


def cache_bytes(text: TextSizes, tokens: int, value_bytes: int) -> int:
    """Bytes of the keys and values of `tokens` over all layers, at `value_bytes` per number."""
    return 2 * text.layers * text.kv_heads * text.head_width * value_bytes * tokens


def rollout_cache_bytes(text: TextSizes, prompts: int, prompt_tokens: int, train: TrainParams, completion: int) -> int:
    """Bytes of the key-value cache of `prompts` groups, with completions of `completion` tokens.

    With a shared prefix, a prompt is cached once per group, in the dtype of computation. Without one, it is cached once
    per completion, in the dtype of the normalised keys: float32 under autocast.
    """
    precision, size = run_precision(train), train.grpo.group_size
    if has_shared_prefix(train):
        return cache_bytes(text, prompts * (prompt_tokens + size * completion), precision.compute)
    return cache_bytes(text, prompts * size * (prompt_tokens + completion), precision.hidden)


def head_tile_bytes(scored: int, precision: Precision) -> int:
    """Bytes of one tile of scores of the fused output layer, for `scored` tokens."""
    return precision.compute * min(scored, _HEAD_TILE_TOKENS) * _HEAD_TILE_COLUMNS


def optimizer_state_bytes(name: str, trainable: int, weight_bytes: int, embedding: int = 0) -> float:
    """Bytes of an optimizer's states; `name` is the optimizer's name in transformers (`adamw_8bit`, ...).

    `trainable` and `embedding` count weights. 8-bit optimizers keep the states of a trainable embedding in float32.
    """
    if name == "adafactor":  # keeps one value per row and column of a matrix: negligible
        return 0.0
    if name.endswith("8bit"):
        return 2 * (trainable - embedding) * (1 + FP32 / _BLOCK_8BIT) + 2 * FP32 * embedding
    return 2.0 * trainable * (FP32 if name.endswith("32bit") else weight_bytes)


@dataclass(frozen=True)
class GpuLoad:
    """What one GPU computes: its longest prompt, the tokens of a completion, and the number of trainable weights."""

    prompt: PromptSize
    completion_tokens: int
    trainable: int


def memory_by_kind(architecture: Architecture, train: TrainParams, load: GpuLoad) -> dict[str, float]:
    """Bytes on one GPU by kind.

    With FSDP (according to the accelerate file), persistent memory is split over the GPUs. Without it, every GPU holds
    all of it; with several GPUs, gradients exist twice, the second time in the buckets of their exchange.
    """
    precision = run_precision(train)
    return _persistent_memory(architecture, train, load, precision) | _pass_memory(architecture, train, load, precision)


def _persistent_memory(
    architecture: Architecture, train: TrainParams, load: GpuLoad, precision: Precision
) -> dict[str, float]:
    """Bytes that one GPU holds during the whole run, by kind."""
    grpo, fsdp = train.grpo, is_sharded(train)
    shards = train.processes if fsdp else 1
    gradient_copies = 2 if train.processes > 1 and not fsdp else 1
    frozen = architecture.parameters - (0 if train.lora else load.trainable)
    embedding = 0 if train.lora else architecture.text.head  # the embedding is as large as the output layer
    has_reference = grpo.kl_coefficient > 0 and not train.lora
    reference_bytes = FP32 if fsdp else precision.compute  # FSDP shards it as it was loaded (train/grpo.py)
    return {
        "weights": (load.trainable * precision.trainable + frozen * precision.frozen) / shards,
        "copies for autocast": load.trainable * precision.compute if precision.autocast else 0.0,
        "gradients": load.trainable * precision.trainable / shards * gradient_copies,
        "optimizer": optimizer_state_bytes(grpo.optimizer, load.trainable, precision.trainable, embedding) / shards,
        "reference": architecture.parameters * reference_bytes / shards if has_reference else 0.0,
    }


def _pass_memory(
    architecture: Architecture, train: TrainParams, load: GpuLoad, precision: Precision
) -> dict[str, float]:
    """Bytes that one GPU holds during a pass, by kind: the loss with and without checkpointing, the rollout's cache."""
    grpo, text, shared = train.grpo, architecture.text, has_shared_prefix(train)
    prompt, scored = load.prompt, load.completion_tokens * grpo.group_size
    rows = 1 if shared else grpo.group_size
    width = prompt.tokens + (scored if shared else load.completion_tokens)
    trains_vision = not train.freeze_vision and not train.lora

    row = row_bytes(architecture, prompt, width, precision, trains_vision=trains_vision)
    tile = head_tile_bytes(grpo.prompts_per_forward * scored, precision)
    head_gradient = 0 if train.lora else FP32 * text.head  # TRL adds it up in float32 before it joins the gradients

    def loss_bytes(checkpointing: bool) -> float:
        all_rows = grpo.prompts_per_forward * rows
        return activation_bytes(row, all_rows, tile, checkpointing=checkpointing) + head_gradient

    cache = rollout_cache_bytes(text, prompts_per_rollout(train), prompt.tokens, train, load.completion_tokens)
    keeps_features = not trains_vision and not is_sharded(train)  # a sharded tower runs in each forward pass
    kept = grpo.prompts_per_step // train.processes if keeps_features else 0
    return {
        "activations": loss_bytes(checkpointing=True),
        "activations, not checkpointed": loss_bytes(checkpointing=False),
        "vision features": float(vision_feature_bytes(architecture, prompt, kept, precision)),
        "rollout cache": float(cache),
    }


def has_shared_prefix(train: TrainParams) -> bool:
    """Whether the run computes a prompt once for all completions of its group."""
    return train.shared_prefix != "off"


def prompts_per_rollout(train: TrainParams) -> int:
    """Prompts whose completions one GPU samples at the same time: its share of a step, or the run's lower limit."""
    share = train.grpo.prompts_per_step // train.processes
    return min(share, train.grpo.prompts_per_rollout or share)


def peak_bytes(memory: dict[str, float], checkpointing: bool) -> float:
    """Largest number of bytes held at one time.

    These are persistent memory, the vision features of a step, and the larger of the loss and the rollout.
    """
    persistent = sum(memory[kind] for kind in PERSISTENT) + memory["vision features"]
    activations = memory["activations" if checkpointing else "activations, not checkpointed"]
    return persistent + max(activations, memory["rollout cache"])
