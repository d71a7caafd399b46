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


def activation_bytes(
    architecture: Architecture,
    prompt: PromptSize,
    tokens: int,
    precision: Precision,
    *,
    checkpointing: bool,
    trains_vision: bool,
) -> int:
    """Bytes held between forward and backward pass of one row of `tokens`, which include its prompt."""
    text, vision = architecture.text, architecture.vision
    hidden = precision.hidden
    per_token = _saved_bytes(text.layers, text_layer_bytes(text, precision), hidden * text.width, checkpointing)
    attention_mask = (tokens - prompt.tokens) * tokens  # of the completions, one byte per pair
    total = tokens * per_token + attention_mask
    if trains_vision:
        layer = vision_layer_bytes(vision, precision)
        per_patch = _saved_bytes(vision.layers, layer, hidden * vision.width, checkpointing)
        merged_width = vision.width * vision.merge**2
        merger_bytes = vision.mergers * prompt.visual_tokens * 4 * precision.compute * merged_width
        total += prompt.patches * per_patch + merger_bytes
    return total


def _saved_bytes(layers: int, layer_bytes: int, input_bytes: int, checkpointing: bool) -> int:
    """Bytes per token over all layers.

    With checkpointing: the input of every layer, and all of the one layer that is being recomputed.
    """
    return layers * input_bytes + layer_bytes if checkpointing else layers * layer_bytes


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


def head_bytes(text: TextSizes, scored: int, precision: Precision, *, trainable: bool) -> int:
    """Bytes of the fused output layer: one tile of scores and, if it is trainable, its float32 gradient."""
    tile = precision.compute * min(scored, _HEAD_TILE_TOKENS) * _HEAD_TILE_COLUMNS
    return tile + (FP32 * text.head if trainable else 0)


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

    def loss_bytes(checkpointing: bool) -> float:
        row = activation_bytes(
            architecture, prompt, width, precision, checkpointing=checkpointing, trains_vision=trains_vision
        )
        head = head_bytes(text, scored, precision, trainable=not train.lora)
        return grpo.prompts_per_forward * (rows * row) + head

    cache = rollout_cache_bytes(text, prompts_per_rollout(train), prompt.tokens, train, load.completion_tokens)
    return {
        "activations": loss_bytes(checkpointing=True),
        "activations, not checkpointed": loss_bytes(checkpointing=False),
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
    """Largest number of bytes held at one time: persistent memory, and the larger of the loss and the rollout."""
    persistent = sum(memory[kind] for kind in PERSISTENT)
    activations = memory["activations" if checkpointing else "activations, not checkpointed"]
    return persistent + max(activations, memory["rollout cache"])
