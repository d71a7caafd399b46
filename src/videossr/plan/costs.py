"""What a prompt, a group and a step cost: tokens and floating-point operations, in closed form.

A multiplication of a token with a weight counts two operations; attention counts every pair of a query and a key that a
dense kernel computes, the masked ones too, as torch's own counter does. Norms, activations and the optimizer are left
out: together they are below a percent.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from videossr.models.encode_prompt import SYSTEM_PROMPT
from videossr.models.policy import Prompt
from videossr.plan.architecture import Architecture, Vision
from videossr.records import VIDEO_MARKER

BACKWARD = 2  # gradients of inputs and of weights, each as much work as the forward pass
_TEMPLATE = "<s>system\n<e>\n<s>user\n<e>\n<s>assistant\n"  # one character or word a token, as the special tokens are


@dataclass(frozen=True)
class Grid:
    """Patches of one clip: time slices, rows and columns."""

    slices: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        return self.slices * self.rows * self.columns


@dataclass(frozen=True)
class PromptSize:
    """One prompt: the grids of its clips, its visual and its text tokens (time stamps included)."""

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
class Work:
    """Operations of a group (one prompt, its completions): rollout, reference pass, loss with its backward pass."""

    rollout: float
    reference: float
    loss: float

    @property
    def total(self) -> float:
        return self.rollout + self.reference + self.loss


@dataclass(frozen=True)
class Learning:
    """What the backward pass has to do: which parts have trainable weights, all of them or adapters.

    `adapter_weights` counts the weights of adapters beside frozen ones (LoRA); 0 where the weights themselves learn.
    """

    vision: bool
    adapter_weights: int
    recomputes: bool


def prompt_size(vision: Vision, prompt: Prompt) -> PromptSize:
    """Visual tokens exactly, text tokens as nearly as is possible without the tokenizer: words, digits, signs."""
    factor = vision.patch_pixels
    grids = tuple(
        Grid(ceil(len(clip) / vision.slice_frames), clip.frames.shape[1] // factor, clip.frames.shape[2] // factor)
        for clip in prompt.clips
    )
    visual = sum(grid.patches for grid in grids) // vision.merge**2
    text = text_tokens(_TEMPLATE + SYSTEM_PROMPT + prompt.text.replace(VIDEO_MARKER, "<>"))
    if vision.writes_times:
        text += sum(_stamp_tokens(clip.times.tolist(), vision.slice_frames) for clip in prompt.clips)
    return PromptSize(grids, visual, text)


def text_tokens(text: str) -> int:
    """How many tokens a tokenizer makes of plain English: one a word, one a digit, one a sign or a line break."""
    return len(re.findall(r"[A-Za-z]+|[^\sA-Za-z]|\n", text))


def _stamp_tokens(times: Sequence[float], slice_frames: int) -> int:
    # Every slice is `<12.3 seconds>`, then its picture between two marks.
    return sum(text_tokens(f"<{times[i]:.1f} seconds>") + 2 for i in range(0, len(times), slice_frames))


def vision_forward(vision: Vision, clips: Iterable[Grid]) -> float:
    """Operations of one pass of the vision tower over clips."""
    clips = list(clips)
    return vision_layers(vision, clips) + _vision_ends(vision, clips)


def vision_layers(vision: Vision, clips: Iterable[Grid]) -> float:
    """The part of `vision_forward` that its layers do: what gradient checkpointing does again."""
    total = 0.0
    for clip in clips:
        whole = clip.slices * (clip.rows * clip.columns) ** 2
        windows = clip.slices * _squares(clip.rows, vision.window) * _squares(clip.columns, vision.window)
        pairs = vision.full_layers * whole + (vision.layers - vision.full_layers) * windows
        total += 2 * vision.linear * clip.patches + 4 * vision.width * pairs
    return total


def _vision_ends(vision: Vision, clips: Iterable[Grid]) -> float:
    return sum(2 * clip.patches * (vision.embedding + vision.merger / vision.merge**2) for clip in clips)


def _squares(length: int, window: int) -> int:
    """Sum of the squares of the pieces that windows cut a length into."""
    if not window:
        return length**2
    return (length // window) * window**2 + (length % window) ** 2


def text_forward(architecture: Architecture, tokens: float, pairs: float, scored: float) -> float:
    """Operations of the language model over `tokens`, `pairs` of queries and keys, and `scored` output positions."""
    text = architecture.text
    attention = 4 * text.layers * text.heads * text.head_width * pairs
    return 2 * text.linear * tokens + attention + 2 * text.head * scored


def group_work(
    architecture: Architecture,
    prompt: PromptSize,
    completion_tokens: int,
    group_size: int,
    learning: Learning,
    *,
    reference: bool,
    shared: bool,
) -> Work:
    """Operations of one prompt with its group, paying for the prompt once (`shared`) or with every completion.

    A frozen tower sees the same in every pass: with `shared`, it looks at the prompt in the rollout alone.
    """
    copies = 1 if shared else group_size
    tokens, scored = prompt.tokens, completion_tokens * group_size
    behind = scored if shared else completion_tokens
    width = tokens + behind
    # Packed, the prompt is a pass of its own, in which no answer is a key.
    pairs = tokens**2 + behind * width if shared else width**2
    vision = copies * vision_forward(architecture.vision, prompt.clips)
    text = copies * text_forward(architecture, width, pairs, 0)
    head = text_forward(architecture, 0, 0, scored)
    decoded = text_forward(architecture, scored, scored * (tokens + completion_tokens / 2), scored)
    prefill = copies * text_forward(architecture, tokens, tokens**2, 1)
    forward = (0.0 if shared and not learning.vision else vision) + text + head
    backward = copies * (
        _text_backward(architecture, width, pairs, learning) + _vision_backward(architecture, prompt, learning)
    )
    return Work(
        rollout=vision + prefill + decoded,
        reference=forward if reference else 0.0,
        # TRL's output layer computes its scores a second time on the way back.
        loss=forward + backward + head * (2 if learning.adapter_weights else 3),
    )


def _text_backward(architecture: Architecture, tokens: int, pairs: int, learning: Learning) -> float:
    """Gradients of one row, and the second forward pass of the layers where they were checkpointed.

    Frozen weights need no gradient of their own, so LoRA halves the work of the matrices; its own are small.
    """
    text, forward = architecture.text, text_forward(architecture, tokens, pairs, 0)
    # The second pass stops before each layer's last matrix: nothing needs its result.
    again = forward - 2 * text.layers * text.inner_width * text.width * tokens if learning.recomputes else 0.0
    if not learning.adapter_weights:
        return BACKWARD * forward + again
    matrices = text_forward(architecture, tokens, 0, 0)
    adapters = 2 * learning.adapter_weights * tokens * (1 + BACKWARD + learning.recomputes)
    return BACKWARD * forward - matrices + again + adapters


def _vision_backward(architecture: Architecture, prompt: PromptSize, learning: Learning) -> float:
    """The same for the vision tower, whose pixels need no gradient; nothing where it is frozen."""
    if not learning.vision:
        return 0.0
    vision, patches = architecture.vision, prompt.patches
    layers = vision_layers(vision, prompt.clips)
    again = layers - 2 * vision.layers * vision.inner_width * vision.width * patches if learning.recomputes else 0.0
    pixels = 2 * vision.embedding * patches
    return BACKWARD * (layers + _vision_ends(vision, prompt.clips)) - pixels + again


def mean_work(works: Sequence[Work], weights: Sequence[float]) -> Work:
    """The mean of what several kinds of groups cost, by their shares."""
    total = sum(weights)

    def mean(values: Iterable[float]) -> float:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total

    return Work(mean(w.rollout for w in works), mean(w.reference for w in works), mean(w.loss for w in works))
