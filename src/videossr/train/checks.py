"""Checks on real prompts before training relies on its loss: it depends on the video, and both forward passes agree."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from videossr.errors import TrainingError
from videossr.models.encode_prompt import EncodedPrompt
from videossr.models.generation import Decoding, generate_scored_branches, truncate_at_end
from videossr.train.batching import chunks
from videossr.train.prefix import Group, repeated_logps, shared_logps

log = logging.getLogger(__name__)

VISION_TOLERANCE = 1e-4  # nats; rounding in bf16 moves a log-probability less than a changed picture does


@torch.no_grad()
def check_vision_sensitivity(groups: Sequence[Group], logps: Callable[[Sequence[Group]], torch.Tensor]) -> float:
    """Change the pixels of each clip of `groups` in turn and require that the log-probabilities of its answer move.

    `logps` is the loss's own path. Returns the smallest move of a clip in nats. Raises TrainingError where a clip moves
    nothing: the loss would not depend on it.
    """
    moves = []
    for group in groups:
        (before,) = logps([group])[:1]
        for clip in range(len(group.prompt.video_grid_thw)):
            (after,) = logps([_with_other_pixels(group, clip)])[:1]
            moves.append((before - after).abs().max().item())
            if not math.isfinite(moves[-1]):
                raise TrainingError(
                    "the policy computes log-probabilities that are not finite, so its weights are damaged: check "
                    "train.policy, or copy the checkpoint again"
                )
            if not moves[-1] > VISION_TOLERANCE:
                raise TrainingError(
                    f"the loss must depend on every clip, but other pixels of clip {clip + 1} of "
                    f"{len(group.prompt.video_grid_thw)} moved the log-probabilities by {moves[-1]:.1e} nats: "
                    "the model ignores its videos, choose another train.policy"
                )
    return min(moves)


def _with_other_pixels(group: Group, clip: int) -> Group:
    """The group with the negative of one clip, its patches in reverse order."""
    sizes = group.prompt.video_grid_thw.prod(dim=1).tolist()
    parts = list(group.prompt.pixel_values_videos.split(sizes))
    parts[clip] = -parts[clip].flip(0)
    return replace(group, prompt=replace(group.prompt, pixel_values_videos=torch.cat(parts), vision=None))


@torch.no_grad()
def check_rollout(
    model: Any, prompts: Sequence[EncodedPrompt], group_size: int, decoding: Decoding, tolerance: float
) -> None:
    """Require that tokens are sampled with the log-probabilities that the loss gives them, to `tolerance` nats.

    The loss is computed from rows that repeat the prompt. Raises TrainingError otherwise.
    """
    tokens, sampled = generate_scored_branches(model, prompts, group_size, decoding, range(len(prompts)))
    rows = [torch.tensor(truncate_at_end(row, decoding.end_ids)) for row in tokens.tolist()]
    groups = [Group(prompt, part) for prompt, part in zip(prompts, chunks(rows, group_size), strict=True)]
    scored, _ = repeated_logps(model, groups, decoding.pad_id, decoding.temperature)
    is_token = torch.arange(scored.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    difference = (scored - sampled[:, : scored.shape[1]])[is_token.to(scored.device)].abs().max().item()
    if not difference <= tolerance:
        raise TrainingError(
            f"completions must be sampled with the log-probabilities of the loss, they differ by {difference:.2g} "
            "nats: set train.shared_prefix to off, and report the model"
        )
    log.info("rollout verified: log-probabilities differ from the loss's by at most %.2g nats", difference)


@torch.no_grad()
def check_shared_prefix(
    model: Any, groups: Sequence[Group], pad_token_id: int, temperature: float, tolerance: float
) -> None:
    """Require that the packed and the repeated forward pass give the same log-probabilities, to `tolerance` nats.

    Raises TrainingError otherwise.
    """
    shared, _ = shared_logps(model, groups, pad_token_id, temperature)
    repeated, _ = repeated_logps(model, groups, pad_token_id, temperature)
    difference = (shared - repeated).abs().max().item()
    if not difference <= tolerance:
        raise TrainingError(
            f"the shared prefix must give the log-probabilities of the repeated rows, they differ by "
            f"{difference:.2g} nats: set train.shared_prefix to off, and report the model"
        )
    log.info("shared prefix verified: log-probabilities differ by at most %.2g nats", difference)
