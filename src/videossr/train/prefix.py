"""Log-probabilities of a group's completions with one forward pass over their shared prompt.

A group is one prompt with G completions. Usually G rows of prompt + completion repeat the prompt G times. Here a group
is one row:

    prompt[:-1] | last, c1[:-1] | last, c2[:-1] | ... | last, cG[:-1]        ("last" is the prompt's last token)

The prompt is the shared prefix and every completion is a branch: a token sees the prefix and its own branch, nothing
else, and every branch continues the positions of the prompt. That is the same function of the same weights, so values
and gradients agree with the repeated rows to rounding (tests/train/test_prefix.py), at P + G*C tokens instead of
G*(P + C).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad

from videossr.models.attention import has_recurrent_layers, uses_branched_attention
from videossr.models.backbone import backbone, unwrap
from videossr.models.branched_delta_net import BranchIndex, index_branches
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import packed_video_inputs, pad_left, prompt_positions

IGNORED = -100  # a label that is not scored


@dataclass(frozen=True)
class Group:
    """One encoded prompt and its completions: int64 tensors [C_i], of different lengths, none empty."""

    prompt: EncodedPrompt
    completions: Sequence[torch.Tensor]


@dataclass(frozen=True)
class PackedBatch:
    """B groups as B rows of N tokens.

    `input_ids` int64 [B, N]; `labels` int64 [B, N], already shifted, `IGNORED` where nothing is scored;
    `positions` int64 [4, B, N] (text position, then temporal, height, width). The first `prefix_length` tokens of every
    row are causal text; `mask`, bool [B, 1, N - prefix_length, N], is true where one of the other tokens sees a key.
    `branches` is what layers of linear attention need in place of a mask; None where the model has none.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    prefix_length: int
    branches: BranchIndex | None


def answer_losses(model: Any, groups: Sequence[Group], pad_token_id: int) -> torch.Tensor:
    """Negative log-likelihoods of all completion tokens of all groups, float [tokens], with one packed forward pass.

    The output layer sees the scored places alone: a prompt has a hundred times as many tokens as its answer.
    """
    packed = pack(model, groups, pad_token_id)
    labels = packed.labels.to(unwrap(model).device)
    is_scored = labels != IGNORED
    hidden = backbone(model)(**_inputs(model, packed, groups), use_cache=False).last_hidden_state
    logits = unwrap(model).get_output_embeddings()(hidden[is_scored])
    return cross_entropy(logits, labels[is_scored], reduction="none")


def shared_logps(
    model: Any, groups: Sequence[Group], pad_token_id: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities and entropies of every completion token, with one packed forward pass for all `groups`.

    Returns float [sum of G, longest C] twice, zero after the end of each completion, rows in the order of the groups'
    completions; the entropy is None where the model's fused head computes none. The model must have TRL's fused head.
    A float64 model is scored without it, exactly, with its logits divided by `temperature`.
    """
    packed = pack(model, groups, pad_token_id)
    device = unwrap(model).device
    labels = packed.labels.to(device)
    log_probs, entropy = _score(model, labels, temperature, **_inputs(model, packed, groups))
    lengths = [len(completion) for group in groups for completion in group.completions]
    scored = (packed.labels != IGNORED).flatten().nonzero()[:, 0].to(device)  # found on the host, which would wait
    return _unpack(log_probs, scored, lengths), _unpack(entropy, scored, lengths)


def _inputs(model: Any, packed: PackedBatch, groups: Sequence[Group]) -> dict[str, Any]:
    """A packed batch as keyword arguments of the model."""
    device = unwrap(model).device
    return {
        "input_ids": packed.input_ids.to(device),
        "position_ids": packed.positions.to(device),
        "attention_mask": packed.mask.to(device),
        "prefix_length": packed.prefix_length,
        **({} if packed.branches is None else {"branches": packed.branches.to(device)}),
        **packed_video_inputs(model, [group.prompt for group in groups]),
    }


def repeated_logps(
    model: Any, groups: Sequence[Group], pad_token_id: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same as `shared_logps` without a shared prefix: every completion with its own copy of prompt and video."""
    prompts = [group.prompt for group in groups for _ in group.completions]
    completions = [completion.cpu() for group in groups for completion in group.completions]
    batch = pad_left(model, prompts, pad_token_id)
    device, width = unwrap(model).device, max(len(completion) for completion in completions)
    padded = torch.stack([pad(c, (0, width - len(c)), value=pad_token_id) for c in completions]).to(device)
    is_token = torch.stack([pad(torch.ones_like(c), (0, width - len(c))) for c in completions]).to(device)
    ids = torch.cat([batch.tokens["input_ids"], padded], dim=1)
    # Shifted by one: the token before the completion predicts its first token, and the last token predicts nothing.
    labels = torch.full_like(ids, IGNORED)
    labels[:, -width - 1 : -1] = padded.masked_fill(is_token == 0, IGNORED)
    log_probs, entropy = _score(
        model,
        labels,
        temperature,
        input_ids=ids,
        attention_mask=torch.cat([batch.tokens["attention_mask"], is_token], dim=1),
        mm_token_type_ids=torch.cat([batch.tokens["mm_token_type_ids"], torch.zeros_like(padded)], dim=1),
        **batch.videos,
    )
    scored = slice(-width - 1, -1)
    return log_probs[:, scored], None if entropy is None else entropy[:, scored]


def pack(model: Any, groups: Sequence[Group], pad_token_id: int) -> PackedBatch:
    """Lay out groups for one forward pass. Without branched attention the mask is that of all tokens."""
    rows = [_packed_row(model, group) for group in groups]
    width = max(len(ids) for ids, *_ in rows)
    ids, labels, positions, segments = zip(*rows, strict=True)

    def stack(tensors: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
        return torch.stack([pad(t, (0, width - t.shape[-1]), value=fill) for t in tensors])

    packed_positions = stack(positions, 0).transpose(0, 1)
    prefix_length = min(len(group.prompt) - 1 for group in groups) if uses_branched_attention(model) else 0
    row_segments = stack(segments, -1)
    return PackedBatch(
        stack(ids, pad_token_id),
        stack(labels, IGNORED),
        packed_positions,
        _branch_mask(row_segments, prefix_length),
        prefix_length,
        index_branches(row_segments) if has_recurrent_layers(model) else None,
    )


def _packed_row(model: Any, group: Group) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [N], labels [N], positions [4, N] and segments [N] (0 is the prefix, i the i-th branch)."""
    prompt = group.prompt
    prefix, last = prompt.input_ids[:-1], prompt.input_ids[-1:]
    prefix_positions = prompt_positions(model, prompt)
    ids, labels = [prefix], [torch.full_like(prefix, IGNORED)]
    positions, segments = [prefix_positions[:, :-1]], [torch.zeros_like(prefix)]
    for branch, completion in enumerate(group.completions, start=1):
        completion = completion.cpu()
        ids.append(torch.cat([last, completion[:-1]]))
        labels.append(completion)
        positions.append(prefix_positions[:, -1:] + torch.arange(len(completion)))
        segments.append(torch.full_like(completion, branch))
    return torch.cat(ids), torch.cat(labels), torch.cat(positions, dim=1), torch.cat(segments)


def _branch_mask(segments: torch.Tensor, prefix_length: int) -> torch.Tensor:
    """From segments [B, N] (-1 is padding) to the mask [B, 1, N - prefix_length, N] of the tokens after the prefix.

    A token sees earlier tokens of the prompt and of its own branch.
    """
    length = segments.shape[1]
    causal = torch.ones(length - prefix_length, length, dtype=torch.bool).tril(prefix_length)
    query, key = segments[:, prefix_length:, None], segments[:, None, :]
    # Padding sees its own segment too: a row that sees nothing has no softmax.
    return ((key == 0) | (query == key))[:, None] & causal


def _score(
    model: Any, labels: torch.Tensor, temperature: float, **inputs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probability and entropy [B, N] wherever the (shifted) label is not `IGNORED`; elsewhere 0."""
    if unwrap(model).dtype != torch.float64:
        out = model(**inputs, shift_labels=labels, fused_lm_head=True)
        return out.log_probs, out.entropy
    # The fused head returns float32, which would hide what only float64 can show.
    hidden = backbone(model)(**inputs, use_cache=False).last_hidden_state
    all_log_probs = torch.log_softmax(unwrap(model).get_output_embeddings()(hidden) / temperature, dim=-1)
    log_probs = all_log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    entropy = -(all_log_probs.exp() * all_log_probs).sum(-1)
    return log_probs.masked_fill(labels == IGNORED, 0), entropy.masked_fill(labels == IGNORED, 0)


def _unpack(values: torch.Tensor | None, scored: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor | None:
    """From values [B, N], flat at the places `scored`, to one row a completion, zero-padded on the right."""
    if values is None:
        return None
    rows = values.flatten()[scored].split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
