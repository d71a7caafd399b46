"""Log-probabilities of a group's completions, paying for their common prompt once.

A group is one prompt with G completions. Laid side by side, G rows of prompt + completion repeat the prompt G times;
here a group is one row:

    prompt[:-1] | last, c1[:-1] | last, c2[:-1] | ... | last, cG[:-1]        ("last" is the prompt's last token)

where a token sees the prompt and its own branch, and nothing else, and every branch continues the prompt's positions.
That is the same function of the same weights, so values and gradients agree with the padded rows to rounding
(tests/test_prefix.py), at P + G*C tokens instead of G*(P + C).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import backbone, pad_left, prompt_positions, unwrap, video_inputs
from videossr.train.attention import attends_by_branches

IGNORED = -100  # a label that is not scored


@dataclass(frozen=True)
class Group:
    """One encoded prompt and its completions: int64 tensors [C_i], of uneven lengths, none empty."""

    prompt: EncodedPrompt
    completions: Sequence[torch.Tensor]


@dataclass(frozen=True)
class PackedBatch:
    """B groups as B rows of N tokens.

    `input_ids` int64 [B, N]; `labels` int64 [B, N], already shifted, `IGNORED` where nothing is scored;
    `positions` int64 [4, B, N] (text position, then temporal, height, width). The first `stem` tokens of every row see
    as causal text does; `mask`, bool [B, 1, N - stem, N], is true where one of the others may see a key.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    stem: int


def pack(model: Any, groups: Sequence[Group], pad_token_id: int) -> PackedBatch:
    """Lay out groups for one forward pass; a model that does not attend by branches is told every token's view."""
    rows = [_row(model, group) for group in groups]
    width = max(len(ids) for ids, *_ in rows)
    ids, labels, positions, segments = zip(*rows, strict=True)

    def stack(tensors: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
        return torch.stack([pad(t, (0, width - t.shape[-1]), value=fill) for t in tensors])

    packed_positions = stack(positions, 0).transpose(0, 1)
    stem = min(len(group.prompt) - 1 for group in groups) if attends_by_branches(model) else 0
    mask = _branch_mask(stack(segments, -1), stem)
    return PackedBatch(stack(ids, pad_token_id), stack(labels, IGNORED), packed_positions, mask, stem)


def _row(model: Any, group: Group) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [N], labels [N], positions [4, N] and segments [N] (0 is the prompt, i the i-th branch)."""
    prompt = group.prompt
    stem, last = prompt.input_ids[:-1], prompt.input_ids[-1:]
    stem_positions = prompt_positions(model, prompt)
    ids, labels = [stem], [torch.full_like(stem, IGNORED)]
    positions, segments = [stem_positions[:, :-1]], [torch.zeros_like(stem)]
    for branch, completion in enumerate(group.completions, start=1):
        completion = completion.cpu()
        ids.append(torch.cat([last, completion[:-1]]))
        labels.append(completion)
        positions.append(stem_positions[:, -1:] + torch.arange(len(completion)))
        segments.append(torch.full_like(completion, branch))
    return torch.cat(ids), torch.cat(labels), torch.cat(positions, dim=1), torch.cat(segments)


def _branch_mask(segments: torch.Tensor, stem: int) -> torch.Tensor:
    """From segments [B, N] (-1 is padding) to the mask [B, 1, N - stem, N] of the tokens behind the stem: causal, and
    inside the prompt or the own branch."""
    length = segments.shape[1]
    causal = torch.ones(length - stem, length, dtype=torch.bool).tril(stem)
    query, key = segments[:, stem:, None], segments[:, None, :]
    # Padding sees its own segment too: a row that sees nothing has no softmax.
    return ((key == 0) | (query == key))[:, None] & causal


def shared_logps(
    model: Any, groups: Sequence[Group], pad_token_id: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities and entropies of every completion token, one packed forward for all `groups`.

    Returns float [sum of G, longest C] twice, zero beyond each completion's end, rows in the order of the groups'
    completions; the entropy is None where the model's fused head computes none. The model must carry TRL's fused head;
    only a float64 model is scored without it, exactly, with its logits divided by `temperature`.
    """
    packed = pack(model, groups, pad_token_id)
    device = unwrap(model).device
    labels = packed.labels.to(device)
    log_probs, entropy = _score(
        model,
        labels,
        temperature,
        input_ids=packed.input_ids.to(device),
        position_ids=packed.positions.to(device),
        attention_mask=packed.mask.to(device),
        stem=packed.stem,
        **video_inputs(model, [group.prompt for group in groups]),
    )
    lengths = [len(completion) for group in groups for completion in group.completions]
    return _unpack(log_probs, labels != IGNORED, lengths), _unpack(entropy, labels != IGNORED, lengths)


def _score(
    model: Any, labels: torch.Tensor, temperature: float, **inputs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probability and entropy [B, N] at every place whose (shifted) label is not `IGNORED`; elsewhere 0."""
    if unwrap(model).dtype != torch.float64:
        out = model(**inputs, shift_labels=labels, fused_lm_head=True)
        return out.log_probs, out.entropy
    # The fused head returns float32, which would hide what only float64 can show.
    hidden = backbone(model)(**inputs, use_cache=False).last_hidden_state
    every = torch.log_softmax(unwrap(model).get_output_embeddings()(hidden) / temperature, dim=-1)
    log_probs = every.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    entropy = -(every.exp() * every).sum(-1)
    return log_probs.masked_fill(labels == IGNORED, 0), entropy.masked_fill(labels == IGNORED, 0)


def _unpack(values: torch.Tensor | None, scored: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor | None:
    """From values [B, N] at the scored places to one row a completion, zero-padded on the right."""
    if values is None:
        return None
    rows = values[scored].split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def padded_logps(
    model: Any, groups: Sequence[Group], pad_token_id: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same as `shared_logps` done the usual way: every completion beside its own copy of prompt and video."""
    prompts = [group.prompt for group in groups for _ in group.completions]
    completions = [completion.cpu() for group in groups for completion in group.completions]
    batch = pad_left(model, prompts, pad_token_id)
    device, width = unwrap(model).device, max(len(completion) for completion in completions)
    tails = torch.stack([pad(c, (0, width - len(c)), value=pad_token_id) for c in completions]).to(device)
    alive = torch.stack([pad(torch.ones_like(c), (0, width - len(c))) for c in completions]).to(device)
    ids = torch.cat([batch.tokens["input_ids"], tails], dim=1)
    # The token before the completion predicts its first: shifted by one, and nothing is asked of the last token.
    labels = torch.full_like(ids, IGNORED)
    labels[:, -width - 1 : -1] = tails.masked_fill(alive == 0, IGNORED)
    log_probs, entropy = _score(
        model,
        labels,
        temperature,
        input_ids=ids,
        attention_mask=torch.cat([batch.tokens["attention_mask"], alive], dim=1),
        mm_token_type_ids=torch.cat([batch.tokens["mm_token_type_ids"], torch.zeros_like(tails)], dim=1),
        **batch.videos,
    )
    kept = slice(-width - 1, -1)
    return log_probs[:, kept], None if entropy is None else entropy[:, kept]
