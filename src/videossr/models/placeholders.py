"""How the features of videos take the places of their tokens, without the host waiting for the device.

transformers compares the numbers of tokens and features at every pass, and adds DeepStack's features by an index whose
size depends on values: the host waits for both. Prompts are encoded together with their videos, so the numbers agree.
"""

from functools import partial
from typing import Any

import torch


def place_features_without_waiting(base: Any) -> None:
    """Replace the two methods of a Qwen-VL model, `base` with `language_model`, by equal ones that do not wait."""
    if not isinstance(base.get_placeholder_mask, partial):
        base.get_placeholder_mask = partial(_placeholder_masks, base.config, base.get_placeholder_mask)
    if hasattr(base.language_model, "_deepstack_process"):
        base.language_model._deepstack_process = _add_features


def _placeholder_masks(
    config: Any, checked_masks: Any, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, **features: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the tokens of images and of videos are: bool [B, N, 1] twice."""
    if input_ids is None:
        return checked_masks(input_ids, inputs_embeds, **features)
    return (input_ids == config.image_token_id)[..., None], (input_ids == config.video_token_id)[..., None]


def _add_features(hidden_states: torch.Tensor, visual_pos_masks: torch.Tensor, visual_embeds: torch.Tensor) -> Any:
    """Add `visual_embeds` [tokens, D] to `hidden_states` [B, N, D] where `visual_pos_masks` [B, N] is true."""
    features = torch.zeros_like(hidden_states)
    return hidden_states + features.masked_scatter(visual_pos_masks[..., None], visual_embeds.to(hidden_states))
