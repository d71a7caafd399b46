"""The cost of a prompt and of its group in tokens and floating-point operations, in closed form.

A multiplication of a token with a weight counts two operations. Attention counts every pair of a query and a key that a
dense kernel computes, masked pairs included, as torch's own counter does. Norms, activations and the optimizer are not
counted: together they are below one percent.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from videossr.models.encode_prompt import SYSTEM_PROMPT
from videossr.models.policy import Prompt
from videossr.plan.architecture import Architecture, VisionSizes
from videossr.records import VIDEO_MARKER

BACKWARD = 2  # a backward pass computes gradients of inputs and of weights, each as costly as the forward pass
# The chat template, with one character for each special token.
_TEMPLATE = "<system\n>\n<user\n>\n<assistant\n"


@dataclass(frozen=True)
class Grid:
    """The patches of one clip: time slices, rows and columns."""

    slices: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        return self.slices * self.rows * self.columns


@dataclass(frozen=True)
class PromptSize:
    """The size of one prompt: the grid of each clip, visual tokens, and text tokens (time stamps included)."""

    clips: tuple[Grid, ...]
    visual_tokens: int
    text_tokens: int

    @property
    def tokens(self) -> int:
        return self.visual_tokens + self.text_tokens

    @property
    def patches(self) -> int:
        return sum(clip.patches for clip in self.clips)


@dataclass(frozen=True)
class Operations:
    """Operations of a group (one prompt and its completions): rollout, reference pass, loss with its backward pass."""

    rollout: float
    reference: float
    loss: float

    @property
    def total(self) -> float:
        return self.rollout + self.reference + self.loss


@dataclass(frozen=True)
class BackwardPass:
    """What the backward pass computes.

    `trains_vision`: the vision tower has trainable weights. `adapter_weights` counts LoRA weights beside a frozen
    language model; 0 means that the language model itself is trained. `recomputes_layers`: gradient checkpointing.
    """

    trains_vision: bool
    adapter_weights: int
    recomputes_layers: bool


def prompt_size(vision: VisionSizes, prompt: Prompt) -> PromptSize:
    """The size of a prompt. Visual tokens are exact; text tokens are an estimate without the tokenizer."""
    side = vision.patch_pixels
    grids = tuple(
        Grid(ceil(len(clip) / vision.slice_frames), clip.frames.shape[1] // side, clip.frames.shape[2] // side)
        for clip in prompt.clips
    )
    visual = sum(grid.patches for grid in grids) // vision.merge**2
    text = count_text_tokens(_TEMPLATE + SYSTEM_PROMPT + prompt.text.replace(VIDEO_MARKER, "<>"))
    if vision.writes_times:
        text += sum(_count_time_tokens(clip.times.tolist(), vision.slice_frames) for clip in prompt.clips)
    return PromptSize(grids, visual, text)


def count_text_tokens(text: str) -> int:
    """Estimated tokens of English: one per word, digit, punctuation mark, line break, and space before a digit."""
    return len(re.findall(r"[A-Za-z]+|[^\sA-Za-z]|\n| (?=[\d<])", text))


def _count_time_tokens(times: Sequence[float], slice_frames: int) -> int:
    # Every time slice is written as `<12.3 seconds>`, then its visual tokens between a start and an end token.
    return sum(count_text_tokens(f"<{times[i]:.1f} seconds>") + 2 for i in range(0, len(times), slice_frames))


def vision_forward(vision: VisionSizes, clips: Iterable[Grid]) -> float:
    """Operations of one forward pass of the vision tower over clips."""
    clips = list(clips)
    return vision_layers(vision, clips) + _vision_ends(vision, clips)


def vision_layers(vision: VisionSizes, clips: Iterable[Grid]) -> float:
    """Operations of the layers alone, which gradient checkpointing computes a second time."""
    total = 0.0
    for clip in clips:
        full_pairs = clip.slices * (clip.rows * clip.columns) ** 2
        window_pairs = (
            clip.slices
            * _sum_of_squared_windows(clip.rows, vision.window)
            * _sum_of_squared_windows(clip.columns, vision.window)
        )
        pairs = vision.full_layers * full_pairs + (vision.layers - vision.full_layers) * window_pairs
        total += 2 * vision.linear * clip.patches + 4 * vision.width * pairs
    return total


def _vision_ends(vision: VisionSizes, clips: Iterable[Grid]) -> float:
    """Operations of the patch embedding before the layers and of the mergers after them."""
    return sum(2 * clip.patches * (vision.embedding + vision.merger / vision.merge**2) for clip in clips)


def _sum_of_squared_windows(length: int, window: int) -> int:
    """Cut `length` into windows, the last of which may be shorter, and sum the squares of their lengths."""
    if not window:
        return length**2
    return (length // window) * window**2 + (length % window) ** 2


def text_forward(architecture: Architecture, tokens: float, pairs: float, scored: float) -> float:
    """Operations of the language model for `tokens`, `pairs` of query and key, and `scored` output positions."""
    text = architecture.text
    attention = 4 * text.layers * text.heads * text.head_width * pairs
    return 2 * text.linear * tokens + attention + 2 * text.head * scored


def group_operations(
    architecture: Architecture,
    prompt: PromptSize,
    completion_tokens: int,
    group_size: int,
    backward: BackwardPass,
    *,
    reference: bool,
    shared: bool,
) -> Operations:
    """Operations of one prompt with its group. The prompt is computed once if `shared`, else with every completion.

    The features of a frozen vision tower are the same in every pass: with `shared`, only the rollout computes them.
    """
    copies = 1 if shared else group_size
    tokens, scored = prompt.tokens, completion_tokens * group_size
    row_completions = scored if shared else completion_tokens
    width = tokens + row_completions
    # In a packed row, the prompt is a pass of its own whose keys do not include the completions.
    pairs = tokens**2 + row_completions * width if shared else width**2
    vision = copies * vision_forward(architecture.vision, prompt.clips)
    text = copies * text_forward(architecture, width, pairs, 0)
    head = text_forward(architecture, 0, 0, scored)
    decoding = text_forward(architecture, scored, scored * (tokens + completion_tokens / 2), scored)
    prefill = copies * text_forward(architecture, tokens, tokens**2, 1)
    forward = (0.0 if shared and not backward.trains_vision else vision) + text + head
    gradients = copies * (
        _text_backward(architecture, width, pairs, backward) + _vision_backward(architecture, prompt, backward)
    )
    return Operations(
        rollout=vision + prefill + decoding,
        reference=forward if reference else 0.0,
        # TRL's output layer computes its scores a second time in the backward pass.
        loss=forward + gradients + head * (2 if backward.adapter_weights else 3),
    )


def _text_backward(architecture: Architecture, tokens: int, pairs: int, backward: BackwardPass) -> float:
    """Operations of the gradients of one row, and of the second forward pass of checkpointed layers.

    Frozen weights need no gradient of their own, so LoRA halves the cost of the matrices; the adapters add little.
    """
    text, forward = architecture.text, text_forward(architecture, tokens, pairs, 0)
    # The second pass stops before each layer's last matrix, whose result is not needed.
    last_matrices = 2 * text.layers * text.inner_width * text.width * tokens
    recomputed = forward - last_matrices if backward.recomputes_layers else 0.0
    if not backward.adapter_weights:
        return BACKWARD * forward + recomputed
    matrices = text_forward(architecture, tokens, 0, 0)
    adapters = 2 * backward.adapter_weights * tokens * (1 + BACKWARD + backward.recomputes_layers)
    return BACKWARD * forward - matrices + recomputed + adapters


def _vision_backward(architecture: Architecture, prompt: PromptSize, backward: BackwardPass) -> float:
    """The same for the vision tower, whose input pixels need no gradient; 0 when the tower is frozen."""
    if not backward.trains_vision:
        return 0.0
    vision, patches = architecture.vision, prompt.patches
    layers = vision_layers(vision, prompt.clips)
    last_matrices = 2 * vision.layers * vision.inner_width * vision.width * patches
    recomputed = layers - last_matrices if backward.recomputes_layers else 0.0
    pixel_gradients = 2 * vision.embedding * patches
    return BACKWARD * (layers + _vision_ends(vision, prompt.clips)) - pixel_gradients + recomputed


def mean_operations(groups: Sequence[Operations], weights: Sequence[float]) -> Operations:
    """The weighted mean of the operations of several kinds of groups."""
    total = sum(weights)

    def mean(values: Iterable[float]) -> float:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total

    return Operations(
        mean(group.rollout for group in groups),
        mean(group.reference for group in groups),
        mean(group.loss for group in groups),
    )
