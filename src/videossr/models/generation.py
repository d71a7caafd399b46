"""Generate several completions of each prompt with one prefill a prompt.

The G completions of a prompt are branches of one cache row: every decoding step runs the newest tokens of all G
branches as G queries of that row, and a mask shows each branch the prompt and its own tokens. So the keys and values of
a prompt are stored once and not G times.

Nothing of a checkpoint's own generation settings is used except its end tokens: `Decoding` states all others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, GenerationConfig, LogitsProcessor

from videossr.models.attention import has_recurrent_layers
from videossr.models.backbone import backbone, unwrap
from videossr.models.branch_cache import BranchCache
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.model_inputs import packed_video_inputs, pad_left, prompt_positions, with_positions

Completion = list[int]  # token ids, up to and with the end token

# Prompts share a prefill pass up to this many tokens: enough to fill a GPU, and little memory.
_TOKENS_PER_PREFILL = 8192


@dataclass(frozen=True)
class Decoding:
    """How completions are decoded: at most `max_new_tokens` tokens, greedily where `temperature` is 0.

    A completion ends with one of `end_ids`; `suppressed_ids` are never generated; `pad_id` fills a row after its end.
    """

    max_new_tokens: int
    temperature: float
    end_ids: tuple[int, ...]
    suppressed_ids: tuple[int, ...]
    pad_id: int


def end_token_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a reply: those of the checkpoint's generation settings, and the tokenizer's end token."""
    ids = model.generation_config.eos_token_id
    ids = [] if ids is None else [ids] if isinstance(ids, int) else ids
    return tuple(sorted({*ids, tokenizer.eos_token_id}))


def generate_branches(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    synced: bool = False,
) -> torch.Tensor:
    """Generate `group_size` completions of each prompt: int64 [prompts * group_size, C], a prompt's rows together.

    The distribution is that of generating each row on its own. `seeds`, one a prompt, are required where the
    temperature is above 0: a group depends on its own seed and not on the prompts beside it. `synced` keeps processes
    that hold shards of one model in step until the last of them has ended.
    """
    choose = _TokenChoice(decoding, seeds, group_size, unwrap(model).device)
    return _generate(model, prompts, group_size, decoding, choose, synced)


def generate_scored_branches(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The completions of `generate_branches`, and the log-probability of each token when it was chosen.

    The second is float [rows, C]: of the distribution at `decoding.temperature`, at 1 in greedy decoding.
    """
    choose = _ScoredTokenChoice(decoding, seeds, group_size, unwrap(model).device)
    tokens = _generate(model, prompts, group_size, decoding, choose, synced=False)
    return tokens, torch.stack(choose.logps, dim=-1).flatten(0, 1)


@torch.no_grad()
def _generate(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    decoding: Decoding,
    choose: "_TokenChoice",
    synced: bool,
) -> torch.Tensor:
    with _evaluation_mode(model):
        # Sharded models must run as many passes on every process, and a recurrent state must not read padding.
        single = synced or has_recurrent_layers(model)
        cache, logits = _prefill(model, prompts, group_size, 1 if single else _TOKENS_PER_PREFILL)
        first_logits = logits[:, None].expand(-1, group_size, -1)
        layout = _BranchLayout.after_prompts(model, prompts, group_size)
        return _decode(model, cache, first_logits, layout, decoding, choose, synced)


@torch.no_grad()
def generate_about_same_videos(model: Any, prompts: Sequence[EncodedPrompt], decoding: Decoding) -> torch.Tensor:
    """Greedy completions of prompts that begin alike, int64 [prompts, C]: what they share is read once.

    The shared prefix, at least all tokens of the videos, is one row of the cache. The rest of each prompt is a branch
    of it, and its completion goes on from there. Equal to `generate_branches` of each prompt alone.
    """
    size, prefix = len(prompts), with_positions(model, _shared_prefix(prompts))
    choose = _TokenChoice(decoding, None, size, unwrap(model).device)
    with _evaluation_mode(model):
        cache, _ = _prefill(model, [prefix], size, _TOKENS_PER_PREFILL)
        tails = _Tails(model, prefix, [prompt.input_ids[len(prefix) :] for prompt in prompts])
        out = model(**tails.inputs, past_key_values=cache, use_cache=True, logits_to_keep=tails.last_tokens)
        return _decode(model, cache, out.logits, tails.layout, decoding, choose, synced=False)


def _decode(
    model: Any,
    cache: BranchCache,
    logits: torch.Tensor,
    layout: "_BranchLayout",
    decoding: Decoding,
    choose: "_TokenChoice",
    synced: bool,
) -> torch.Tensor:
    """Completions int64 [prompts * G, C], from the logits [prompts, G, V] of their first tokens."""
    columns = [choose(logits)]
    while len(columns) < decoding.max_new_tokens and choose.is_running(synced):
        inputs = layout.inputs(columns[-1], step=len(columns) - 1)
        columns.append(choose(model(**inputs, past_key_values=cache, use_cache=True).logits))
    return torch.stack(columns, dim=-1).flatten(0, 1)


@torch.no_grad()
def generate_rows(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    group_size: int,
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    synced: bool = False,
) -> torch.Tensor:
    """The same by transformers' `generate`: every row prefills its own copy of prompt and video."""
    batch = pad_left(model, [prompt for prompt in prompts for _ in range(group_size)], decoding.pad_id)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=list(decoding.end_ids) or None,
        pad_token_id=decoding.pad_id,
        suppress_tokens=list(decoding.suppressed_ids) or None,
        disable_compile=True,
    )
    with _evaluation_mode(model), _without_generation_settings(model):
        out = model.generate(
            **batch.tokens,
            **batch.videos,
            generation_config=config,
            logits_processor=_noise(decoding, seeds, group_size, unwrap(model).device),
            synced_gpus=synced,
        )
    return out[:, batch.tokens["input_ids"].shape[1] :]


def truncate_at_end(row: Completion, end_ids: Sequence[int]) -> Completion:
    """A completion up to and with its first end token."""
    for position, token in enumerate(row):
        if token in end_ids:
            return row[: position + 1]
    return row


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    """No dropout while tokens are sampled: the loss's log-probabilities must be those of the sampling distribution."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _without_generation_settings(model: Any) -> Iterator[None]:
    """Hide the checkpoint's generation settings: `generate` takes from them what its caller leaves out."""
    settings, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings


def _prefill(
    model: Any, prompts: Sequence[EncodedPrompt], group_size: int, tokens_per_pass: int
) -> tuple[BranchCache, torch.Tensor]:
    """The cache of all prompts, one row each, and the logits [prompts, V] after their last tokens."""
    width = max(len(prompt) for prompt in prompts)
    per_pass = max(1, tokens_per_pass // width)
    passes = [_prefill_pass(model, prompts[i : i + per_pass]) for i in range(0, len(prompts), per_pass)]
    caches, logits = zip(*passes, strict=True)
    return BranchCache.from_prefills(caches, width, group_size), torch.cat(logits)


def _prefill_pass(model: Any, prompts: Sequence[EncodedPrompt]) -> tuple[DynamicCache, torch.Tensor]:
    """Prompts are padded on the right: no token of a prompt sees the padding behind it, so no mask is needed."""
    device, width = unwrap(model).device, max(len(prompt) for prompt in prompts)
    ids = torch.stack([pad(p.input_ids, (0, width - len(p))) for p in prompts])
    positions = torch.stack([pad(prompt_positions(model, p), (0, width - len(p))) for p in prompts], dim=1)
    last_tokens = torch.tensor([len(prompt) - 1 for prompt in prompts])
    cache = DynamicCache(config=backbone(model).config.text_config)
    out = model(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last_tokens.to(device),
        **packed_video_inputs(model, prompts),
    )
    return cache, out.logits.diagonal(dim1=0, dim2=1).T  # row i: the logits after its own last token


def _shared_prefix(prompts: Sequence[EncodedPrompt]) -> EncodedPrompt:
    """The tokens that all prompts begin with; at least one token of each is left over.

    Raises ValueError where a video is not among them.
    """
    shortest = min(map(len, prompts)) - 1
    ids = torch.stack([prompt.input_ids[:shortest] for prompt in prompts])
    length = int((ids == ids[0]).all(dim=0).long().cumprod(dim=0).sum())
    if any((prompt.mm_token_type_ids[length:] > 0).any() for prompt in prompts):
        raise ValueError("the prompts must begin with the same videos")
    first = prompts[0]
    types = first.mm_token_type_ids[:length]
    return replace(first, input_ids=first.input_ids[:length], mm_token_type_ids=types, positions=None)


class _Tails:
    """What follows the shared prefix of G prompts, as G branches of T tokens in one row; shorter ones are padded.

    It is text, so its positions count on from the last token of the prefix, which ends with text too.
    """

    def __init__(self, model: Any, prefix: EncodedPrompt, tails: Sequence[torch.Tensor]) -> None:
        device, size, prefix_length = unwrap(model).device, len(tails), len(prefix)
        lengths = torch.tensor([len(tail) for tail in tails])
        width = int(lengths.max())
        branch, place = torch.arange(size).repeat_interleave(width), torch.arange(width).repeat(size)
        is_same_branch = branch[:, None] == branch
        sees = torch.cat([torch.ones(size * width, prefix_length), is_same_branch & (place <= place[:, None])], dim=1)
        next_position = int(prompt_positions(model, prefix)[1:, -1].max()) + 1
        starts = torch.tensor([prefix_length, *3 * [next_position]])
        self.last_tokens = (torch.arange(size) * width + lengths - 1).to(device)
        self.inputs = {
            "input_ids": pad_sequence(list(tails), batch_first=True).reshape(1, -1).to(device),
            "position_ids": (starts[:, None] + place)[:, None].to(device),
            "attention_mask": sees.bool()[None, None].to(device),
        }
        if has_recurrent_layers(model):
            self.inputs["tail_lengths"] = lengths.to(device)
        # A token that is generated sees the prefix and the tokens of its own prompt, not their padding.
        own = (torch.arange(size)[:, None] == branch) & (place < lengths[:, None])
        visible = torch.cat([torch.ones(size, prefix_length), own], dim=1).bool()
        self.layout = _BranchLayout((next_position + lengths)[None].to(device), visible[None, None].to(device))


class _BranchLayout:
    """Positions and mask of the branches' tokens: a branch sees its prompt and its own tokens."""

    def __init__(self, next_position: torch.Tensor, visible: torch.Tensor) -> None:
        """`next_position` int64 [B, G]; `visible` bool [B, 1, G, N]: which of the N cached tokens a branch sees."""
        self._next_position, self._mask = next_position, visible
        size = next_position.shape[1]
        own_token = torch.eye(size, dtype=torch.bool, device=visible.device)
        self._own_token = own_token.expand(len(next_position), 1, -1, -1)

    @classmethod
    def after_prompts(cls, model: Any, prompts: Sequence[EncodedPrompt], group_size: int) -> "_BranchLayout":
        """The layout after a prefill: the branches of a prompt see all of it."""
        device = unwrap(model).device
        ends = [int(prompt_positions(model, prompt)[1:, -1].max()) for prompt in prompts]
        next_position = torch.tensor(ends, device=device)[:, None].expand(-1, group_size) + 1
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        is_prompt = torch.arange(max(map(len, prompts)), device=device) < lengths[:, None]
        return cls(next_position, is_prompt[:, None, None].expand(-1, 1, group_size, -1))

    def inputs(self, tokens: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model for the `step`-th token of every branch, int64 [prompts, G]."""
        self._mask = torch.cat([self._mask, self._own_token], dim=-1)
        return {
            "input_ids": tokens,
            "position_ids": (self._next_position + step).expand(4, -1, -1),
            "attention_mask": self._mask,
        }


class _TokenChoice:
    """Chooses the next token of every branch; a branch that has ended gets padding."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int] | None, group_size: int, device: torch.device) -> None:
        self._pad_id = decoding.pad_id
        self._end_ids = torch.tensor(decoding.end_ids, dtype=torch.long, device=device)
        self._suppressed_ids = torch.tensor(decoding.suppressed_ids, dtype=torch.long, device=device)
        self._noise = _noise(decoding, seeds, group_size, device)
        self._has_ended = torch.zeros((), dtype=torch.bool, device=device)  # becomes [prompts, G]

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """From logits [prompts, G, V] to token ids [prompts, G]."""
        tokens = self._choose(logits.index_fill(-1, self._suppressed_ids, -torch.inf))
        tokens = tokens.masked_fill(self._has_ended, self._pad_id)
        self._has_ended = self._has_ended | torch.isin(tokens, self._end_ids)
        return tokens

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        for noise in self._noise:
            logits = noise(None, logits.flatten(0, 1)).view_as(logits)
        return logits.argmax(dim=-1)

    def is_running(self, synced: bool) -> bool:
        """Whether a branch has not ended; with `synced`, a branch of any process."""
        running = (~self._has_ended).any().long()
        if synced:
            torch.distributed.all_reduce(running)
        return bool(running)


class _ScoredTokenChoice(_TokenChoice):
    """Notes the log-probability of every token that it chooses."""

    def __init__(self, decoding: Decoding, *args: Any) -> None:
        super().__init__(decoding, *args)
        self._temperature = decoding.temperature or 1.0
        self.logps: list[torch.Tensor] = []  # float [prompts, G] a token

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        tokens = super()._choose(logits)
        logps = torch.log_softmax(logits.float() / self._temperature, dim=-1)
        self.logps.append(logps.gather(-1, tokens[..., None])[..., 0])
        return tokens


def _noise(
    decoding: Decoding, seeds: Sequence[int] | None, group_size: int, device: torch.device
) -> list["SeededGumbelNoise"]:
    """What is added to the logits before the largest is taken: nothing in greedy decoding."""
    if decoding.temperature == 0:
        return []
    if seeds is None:
        raise ValueError("sampling requires a seed for each prompt: give seeds, or set the temperature to 0")
    return [SeededGumbelNoise(seeds, group_size, decoding.temperature, device)]


class SeededGumbelNoise(LogitsProcessor):
    """Sampling as a greedy choice among noisy logits (the Gumbel trick); the noise of a group comes from its seed."""

    def __init__(self, seeds: Sequence[int], group_size: int, temperature: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.group_size = group_size
        self.temperature = temperature

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        """Add noise to the logits `scores` [groups * group_size, vocabulary]."""
        shape = (self.group_size, scores.shape[-1])
        exponential = [torch.empty(shape, device=scores.device).exponential_(generator=g) for g in self.generators]
        return scores.float() / self.temperature - torch.cat(exponential).log()
