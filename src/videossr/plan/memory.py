"""What one GPU has to hold, by kind, in bytes: closed forms over the sizes of the model and of a micro-batch.

The forms follow what transformers' eager modules keep for the backward pass with a fused attention kernel; tests hold
them to what torch saves for a small model. Kernels' work space and the allocator's fragments come on top.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from videossr.errors import ConfigError
from videossr.plan.architecture import Architecture, Text, Vision
from videossr.plan.costs import PromptSize
from videossr.train.params import TrainParams

BF16, FP32 = 2, 4
LASTING = ("weights", "copies for autocast", "gradients", "optimizer", "reference")
_HEAD_TILE = 32768  # columns of the vocabulary that TRL's fused output layer scores at a time,
_HEAD_ROWS = 4096  # for so many tokens
_BLOCK_8BIT = 256  # values that share one float32 scale in an 8-bit optimizer


@dataclass(frozen=True)
class Precision:
    """Bytes a value: of weights that learn, of weights that do not, and of what is computed with them.

    `mixed` is autocast: weights of float32 meet values of bfloat16, and the stream between the layers is float32.
    """

    learning: int
    frozen: int
    compute: int
    mixed: bool = False

    @property
    def stream(self) -> int:
        """Bytes a value between the layers, and of a key: a norm's float32 weight makes float32 of what it norms."""
        return FP32 if self.mixed else self.compute


def precision(train: TrainParams) -> Precision:
    """How the run holds its numbers: FSDP shards float32 and computes with bfloat16 copies, adapters are float32."""
    compute = BF16 if train.grpo.bf16 else FP32
    if train.lora:
        return Precision(FP32, compute, compute)
    weights = BF16 if train.grpo.bf16 and train.grpo.weights == "bfloat16" else FP32
    if sharded(train):
        return Precision(FP32, weights, compute)
    return Precision(weights, weights, compute, mixed=weights != compute)


def text_layer_bytes(text: Text, held: Precision) -> int:
    """Bytes a token that one decoder layer keeps for its backward pass."""
    queries, keys = text.heads * text.head_width, text.kv_heads * text.head_width
    norms = 2 * (FP32 + held.stream) * text.width + (FP32 + held.compute) * (queries + keys)
    inputs = (5 if held.mixed else 2) * text.width  # autocast casts an input anew for every matrix
    attention = 4 * queries  # queries, keys and values repeated for their heads, and the output
    return norms + held.compute * (inputs + attention + 4 * text.inner_width)


def vision_layer_bytes(vision: Vision, held: Precision) -> int:
    """Bytes a patch that one layer of the vision tower keeps for its backward pass."""
    gated = 4 if vision.window else 2  # Qwen2.5-VL's inner layer has a gate
    return 2 * held.stream * vision.width + held.compute * (9 * vision.width + gated * vision.inner_width)


def activation_bytes(
    architecture: Architecture,
    prompt: PromptSize,
    tokens: int,
    held: Precision,
    *,
    checkpointing: bool,
    vision_learns: bool,
) -> int:
    """Bytes kept between forward and backward pass of one packed row of `tokens`, its prompt among them."""
    text, vision = architecture.text, architecture.vision
    layers = _kept(text.layers, text_layer_bytes(text, held), held.stream * text.width, checkpointing)
    total = tokens * layers + (tokens - prompt.tokens) * tokens  # and the mask of the answers, a byte a pair
    if vision_learns:
        patches = _kept(vision.layers, vision_layer_bytes(vision, held), held.stream * vision.width, checkpointing)
        inner = vision.width * vision.merge**2
        total += prompt.patches * patches + vision.mergers * prompt.visual_tokens * 4 * held.compute * inner
    return total


def _kept(layers: int, whole: int, entry: int, checkpointing: bool) -> int:
    """Bytes a token over all layers: everything, or every layer's entry and the one layer that is being recomputed."""
    return layers * entry + whole if checkpointing else layers * whole


def cache_bytes(text: Text, tokens: int, held: Precision) -> int:
    """Bytes of the keys and values of `tokens` in every layer; the cache takes both in the type of the keys."""
    return 2 * text.layers * text.kv_heads * text.head_width * held.stream * tokens


def head_bytes(text: Text, scored: int, held: Precision, *, learns: bool) -> int:
    """Bytes of the fused output layer: one tile of scores, and the float32 gradient that it gathers where it learns."""
    return held.compute * min(scored, _HEAD_ROWS) * _HEAD_TILE + (FP32 * text.head if learns else 0)


def optimizer_state_bytes(name: str, trainable: int, weight_bytes: int, embedded: int = 0) -> float:
    """Bytes of an optimizer's states, by the name that transformers gives the optimizer (`adamw_8bit`, ...).

    `embedded` counts the learning weights of the embedding, whose states 8-bit optimizers keep in float32.
    """
    if name == "adafactor":  # rows and columns of every matrix: next to nothing
        return 0.0
    if name.endswith("8bit"):
        return 2 * (trainable - embedded) * (1 + FP32 / _BLOCK_8BIT) + 2 * FP32 * embedded
    return 2.0 * trainable * (FP32 if name.endswith("32bit") else weight_bytes)


@dataclass(frozen=True)
class Load:
    """What one GPU works on: its longest prompt, the length of the completions, and how many weights learn."""

    prompt: PromptSize
    completion_tokens: int
    trainable: int


def by_kind(architecture: Architecture, train: TrainParams, load: Load) -> dict[str, float]:
    """Bytes on one GPU by kind.

    Runs that are sharded (FSDP, as their accelerate file says) split what lasts over the GPUs; in all others every GPU
    holds all of it, and where there are several the gradients a second time, in the buckets they are exchanged in.
    """
    grpo, fsdp, held = train.grpo, sharded(train), precision(train)
    shards, buckets = train.processes if fsdp else 1, 2 if train.processes > 1 and not fsdp else 1
    frozen = architecture.parameters - (0 if train.lora else load.trainable)
    embedded = 0 if train.lora else architecture.text.head  # the embedding is as large as the output layer
    reference = grpo.kl_coefficient > 0 and not train.lora
    lasting = {
        "weights": (load.trainable * held.learning + frozen * held.frozen) / shards,
        "copies for autocast": load.trainable * held.compute if held.mixed else 0.0,
        "gradients": load.trainable * held.learning / shards * buckets,
        "optimizer": optimizer_state_bytes(grpo.optimizer, load.trainable, held.learning, embedded) / shards,
        "reference": architecture.parameters * held.compute / shards if reference else 0.0,
    }
    return lasting | _passing(architecture, train, load, held)


def _passing(architecture: Architecture, train: TrainParams, load: Load, held: Precision) -> dict[str, float]:
    """What a pass holds while it lasts: the loss with and without checkpointing, and the rollout's cache."""
    grpo, text, sharing = train.grpo, architecture.text, train.shared_prefix != "off"
    prompt, scored = load.prompt, load.completion_tokens * grpo.group_size
    rows = 1 if sharing else grpo.group_size
    width = prompt.tokens + (scored if sharing else load.completion_tokens)
    learns = not train.freeze_vision and not train.lora

    def kept(checkpointing: bool) -> float:
        row = activation_bytes(architecture, prompt, width, held, checkpointing=checkpointing, vision_learns=learns)
        head = head_bytes(text, scored, held, learns=not train.lora)
        return grpo.prompts_per_forward * (rows * row) + head

    at_once = rollout_prompts(train)
    tokens = at_once * grpo.group_size * (prompt.tokens + load.completion_tokens)
    return {
        "activations": kept(True),
        "activations, not checkpointed": kept(False),
        "rollout cache": float(cache_bytes(text, tokens, held)),
    }


def sharded(train: TrainParams) -> bool:
    """Whether the run's accelerate file shards the model. Raises ConfigError where there is no such file."""
    if train.accelerate is None:
        return False
    path = Path(train.accelerate)
    if not path.is_file():
        raise ConfigError(f"train.accelerate must be a file that accelerate reads, there is none at {path}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))["distributed_type"] == "FSDP"


def rollout_prompts(train: TrainParams) -> int:
    """Prompts whose completions one GPU samples at once: its share of a step, or as few as the run says."""
    share = train.grpo.prompts_per_step // train.processes
    return min(share, train.grpo.prompts_per_rollout or share)


def peak(kinds: dict[str, float], checkpointing: bool) -> float:
    """Bytes held at once: what lasts, and the larger of the loss and the rollout."""
    lasting = sum(kinds[kind] for kind in LASTING)
    activations = kinds["activations" if checkpointing else "activations, not checkpointed"]
    return lasting + max(activations, kinds["rollout cache"])
