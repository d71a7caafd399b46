"""Checks on real prompts before training relies on its loss: it depends on the video, and both forward passes agree."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from videossr.errors import TrainingError
from videossr.train.prefix import Group, repeated_logps, shared_logps

log = logging.getLogger(__name__)

VISION_TOLERANCE = 1e-4  # nats; rounding in bf16 moves a log-probability less than a changed picture does


@torch.no_grad()
def check_vision_sensitivity(groups: Sequence[Group], logps: Callable[[Sequence[Group]], torch.Tensor]) -> float:
    """Change the pixels of `groups` and require that the log-probabilities of their answers move.

    `logps` is the loss's own path. Returns the largest move in nats. Raises TrainingError where nothing moves: the loss
    would not depend on the video.
    """
    nats = (logps(groups) - logps([_with_other_pixels(group) for group in groups])).abs().max().item()
    if not nats > VISION_TOLERANCE:
        raise TrainingError(
            f"the loss must depend on the video, but other pixels moved the log-probabilities by {nats:.1e} nats: "
            "the model ignores its videos, choose another train.policy"
        )
    return nats


def _with_other_pixels(group: Group) -> Group:
    pixels = -group.prompt.pixel_values_videos.flip(0)
    return replace(group, prompt=replace(group.prompt, pixel_values_videos=pixels, vision=None))


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
