"""Encoded prompts as keyword arguments of a Qwen-VL model, and the parts of the model that this needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch

from videossr.errors import PolicyError
from videossr.models.backbone import backbone, unwrap
from videossr.models.encode_prompt import EncodedPrompt, VisionFeatures
from videossr.models.vision_arguments import vision_arguments

# Text stands between the time slices of a video, so that each slice has its position by order alone.
_FAMILIES_OF_SLICES = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")


@dataclass(frozen=True)
class PaddedPrompts:
    """Left-padded prompts as keyword arguments of the model: `tokens` hold int64 [B, P], `videos` the clips."""

    tokens: dict[str, torch.Tensor]
    videos: dict[str, Any]


def pad_left(model: Any, encoded: Sequence[EncodedPrompt], pad_token_id: int) -> PaddedPrompts:
    """Stack prompts of different lengths, padded on the left because generation continues on the right."""
    width = max(len(item) for item in encoded)
    ids = torch.full((len(encoded), width), pad_token_id)
    types = torch.zeros(len(encoded), width, dtype=torch.long)
    mask = torch.zeros(len(encoded), width, dtype=torch.long)
    for row, item in enumerate(encoded):
        ids[row, width - len(item) :] = item.input_ids
        types[row, width - len(item) :] = item.mm_token_type_ids
        mask[row, width - len(item) :] = 1
    tokens = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types}
    return PaddedPrompts(
        tokens={name: tensor.to(unwrap(model).device) for name, tensor in tokens.items()},
        videos=video_inputs(model, encoded),
    )


def video_inputs(model: Any, encoded: Sequence[EncodedPrompt]) -> dict[str, Any]:
    """Keyword arguments of the model for the clips of several prompts.

    Vision features where every prompt has them, pixels otherwise; nothing where no prompt has clips.
    """
    device = unwrap(model).device
    grids = torch.cat([item.video_grid_thw for item in encoded]).to(device)
    if not len(grids):
        return {}
    inputs = {"video_grid_thw": grids, **_temporal_patch_seconds(encoded, device)}
    features = [item.vision for item in encoded if item.vision is not None]
    if len(features) < len(encoded):
        return {"pixel_values_videos": torch.cat([item.pixel_values_videos for item in encoded]).to(device), **inputs}
    return {"mm_encoder_outputs": {"video": _encoder_output(features, device)}, **inputs}


def packed_video_inputs(model: Any, encoded: Sequence[EncodedPrompt]) -> dict[str, Any]:
    """The same for the model's own forward pass, with all that its vision tower derives from the sizes of the clips.

    `generate` accepts no such arguments.
    """
    inputs = video_inputs(model, encoded)
    if "pixel_values_videos" in inputs:
        inputs |= vision_arguments(model, torch.cat([item.video_grid_thw for item in encoded]))
    return inputs


def _encoder_output(features: Sequence[VisionFeatures], device: torch.device) -> SimpleNamespace:
    """The features of several prompts, in the form that the model's own vision tower returns."""
    return SimpleNamespace(
        pooler_output=[clip.to(device) for item in features for clip in item.clips],
        deepstack_features=[
            [clip.to(device) for clips in layer for clip in clips]
            for layer in zip(*(item.deepstack for item in features), strict=True)
        ],
    )


def _temporal_patch_seconds(encoded: Sequence[EncodedPrompt], device: torch.device) -> dict[str, torch.Tensor]:
    seconds = [item.second_per_grid_ts for item in encoded if item.second_per_grid_ts is not None]
    return {"second_per_grid_ts": torch.cat(seconds).to(device)} if seconds else {}


@torch.no_grad()
def encode_vision(model: Any, encoded: Sequence[EncodedPrompt]) -> list[EncodedPrompt]:
    """The same prompts with their vision features, from one pass of the vision tower per prompt.

    The features carry no gradient, and are valid only while the weights of the vision tower do not change.
    """
    return [replace(item, vision=_vision_features(model, item)) for item in encoded]


def _vision_features(model: Any, prompt: EncodedPrompt) -> VisionFeatures:
    device = unwrap(model).device
    out = backbone(model).get_video_features(
        prompt.pixel_values_videos.to(device),
        return_dict=True,
        **vision_arguments(model, prompt.video_grid_thw),
    )
    return VisionFeatures(
        tuple(out.pooler_output), tuple(tuple(layer) for layer in getattr(out, "deepstack_features", ()))
    )


def with_positions(model: Any, prompt: EncodedPrompt) -> EncodedPrompt:
    """The same prompt with its position ids, which its passes then need not compute again."""
    return replace(prompt, positions=prompt_positions(model, prompt))


def prompt_positions(model: Any, prompt: EncodedPrompt) -> torch.Tensor:
    """Position ids int64 [4, P] of a prompt: the text position, then the three of multimodal rotary embedding."""
    if prompt.positions is not None:
        return prompt.positions
    config = backbone(model).config
    if config.model_type in _FAMILIES_OF_SLICES:
        merge = config.vision_config.spatial_merge_size
        return slice_positions(prompt.mm_token_type_ids, prompt.video_grid_thw, merge)
    rope, _ = backbone(model).get_rope_index(
        prompt.input_ids[None],
        mm_token_type_ids=prompt.mm_token_type_ids[None],
        video_grid_thw=prompt.video_grid_thw,
        **({} if prompt.second_per_grid_ts is None else {"second_per_grid_ts": prompt.second_per_grid_ts}),
    )
    return torch.cat([torch.arange(len(prompt))[None], rope[:, 0].cpu()])


def slice_positions(types: torch.Tensor, grids: torch.Tensor, merge: int) -> torch.Tensor:
    """Position ids int64 [4, P] of a prompt in which text stands between the time slices of its videos.

    `types` int64 [P] are 2 at video tokens; `grids` int64 [clips, 3]; `merge` x `merge` patches are one token. The same
    as `get_rope_index` of these families, which loops over the pieces of text and the slices.
    """
    is_video = types == 2
    _, heights, widths = (grids // torch.tensor([1, merge, merge])).repeat_interleave(grids[:, 0], dim=0).unbind(1)
    cells = heights * widths  # one entry a slice
    video = is_video.nonzero()[:, 0]
    first = cells.cumsum(0) - cells
    advance = (~is_video).long()
    advance[video[first]] = torch.maximum(heights, widths)
    begin = advance.cumsum(0) - advance
    spatial = begin.expand(3, -1).clone()
    base, width = begin[video[first]].repeat_interleave(cells), widths.repeat_interleave(cells)
    cell = torch.arange(len(video)) - first.repeat_interleave(cells)
    spatial[:, video] = torch.stack([base, base + cell // width, base + cell % width])
    return torch.cat([torch.arange(len(types))[None], spatial])


def mask_vision_tokens(model: Any) -> None:
    """Give the vision tokens no probability, wherever the output layer is used: in sampling, loss and entropy alike.

    The output layer of these families has no bias; it gets one that is not saved and not trained.
    """
    head = unwrap(model).get_output_embeddings()
    bias = torch.zeros(head.out_features, dtype=head.weight.dtype, device=head.weight.device)
    bias[vision_token_ids(model)] = -1e4  # far below any logit, and finite: its gradient is zero and not NaN
    if head.bias is not None:
        raise PolicyError("the output layer must have no bias, this one has: set train.policy to a Qwen-VL model")
    del head.bias
    head.register_buffer("bias", bias, persistent=False)


def vision_token_ids(model: Any) -> list[int]:
    """Ids of the tokens that stand for pixels. Generation must suppress them: a reply has no features to match them."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return [getattr(model.config, name) for name in names if getattr(model.config, name, None) is not None]
