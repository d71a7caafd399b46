"""Attention that suits packed groups and videos: few calls, and the fast causal kernels wherever they apply.

The language model attends over a packed group in two passes: the shared prefix as plain causal text, then the tokens
after it. One mask over all N tokens costs N x N and rules out the fast causal kernels; only the few tokens after the
prefix need a mask.

A vision tower attends within each time slice. transformers calls the attention once a slice, 24 times a layer for 48
frames; on a GPU most of a step's time then goes to starting kernels. Slices of one size are a batch: one call a layer.

Every other call is ordinary scaled-dot-product attention, so a model can keep these implementations throughout.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videossr.models.backbone import backbone
from videossr.models.branched_delta_net import DELTA_NETS, use_branched_delta_nets
from videossr.models.placeholders import place_features_without_waiting

BRANCHED = "branched"
SLICED = "sliced"
_TOWERS_OF_SLICES = ("qwen3_vl_vision", "qwen3_vl_moe_vision", "qwen3_5_vision", "qwen3_5_moe_vision")


def use_branched_attention(model: Any) -> None:
    """Let the language model attend over packed rows in two passes, and the vision tower over all slices at once."""
    base = backbone(model)
    parts = {"text_config": BRANCHED}
    if base.config.vision_config.model_type in _TOWERS_OF_SLICES:
        parts["vision_config"] = SLICED
    base.set_attn_implementation(parts)
    use_branched_delta_nets(base.language_model)
    place_features_without_waiting(base)


def uses_branched_attention(model: Any) -> bool:
    """Whether `use_branched_attention` was called on this model."""
    return backbone(model).config.text_config._attn_implementation == BRANCHED


def unshareable_layer(model: Any) -> str | None:
    """A type of layer by which completions would see one another in a packed row; None where there is none.

    Decided from the layers themselves. Known to be exact are full attention and Gated DeltaNet, beside norms and MLPs,
    which treat each token alone. A sliding window counts places in the row, and any other mixer of tokens is unknown.
    """
    for layer in backbone(model).language_model.layers:
        for name, module in layer.named_children():
            if isinstance(module, DELTA_NETS) or name in ("mlp", "feed_forward") or "norm" in name:
                continue
            is_attention = name == "self_attn" and hasattr(module, "is_causal")
            if not is_attention or getattr(module, "sliding_window", None) is not None:
                return type(module).__name__ + (" with a sliding window" if is_attention else "")
    return None


def has_recurrent_layers(model: Any) -> bool:
    """Whether a layer of the language model carries a state from token to token."""
    return any(isinstance(module, DELTA_NETS) for module in backbone(model).language_model.modules())


def slice_arguments(model: Any, grids: torch.Tensor) -> dict[str, Any]:
    """Arguments of the model's forward pass by which the vision tower attends over all time slices in one call.

    `grids`, int64 [clips, 3], are the temporal and spatial patches of the clips, on the CPU. Returns nothing where the
    clips differ in size, or the model does not use `sliced_attention`: each slice is then a call of its own.
    """
    sizes = {int(height * width) for _, height, width in grids}
    if len(sizes) != 1 or backbone(model).config.vision_config._attn_implementation != SLICED:
        return {}
    # For the tower, all patches are one segment; it cuts segments by their ends, which it needs on the CPU.
    return {"video_cu_seqlens": torch.tensor([0, int(grids.prod(dim=1).sum())]), "video_slice_patches": sizes.pop()}


def sliced_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    slice_patches: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query`, `key` and `value` [1, H, N, D] to [1, N, H, D]; each `slice_patches` patches attend to one another."""
    if slice_patches is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    slices = (part[0].unflatten(1, (-1, slice_patches)).transpose(0, 1) for part in (query, key, value))
    out, _ = sdpa_attention_forward(module, *slices, None, **options)
    return out.flatten(0, 1)[None], None


def branched_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prefix_length: int = 0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query` [B, H, N, D], `key` and `value` [B, K, N, D] to [B, N, H, D].

    The first `prefix_length` tokens of every row are causal; `attention_mask`, bool [B, 1, N - prefix_length, N], says
    which keys each of the other tokens sees. At length 0 the mask is that of all tokens, as usual.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, **options)
    if not prefix_length:
        return _masked_attention(query, key, value, attention_mask, **options), None
    prefix = (part[:, :, :prefix_length] for part in (query, key, value))
    prefix_out, _ = sdpa_attention_forward(module, *prefix, None, **{**options, "is_causal": True})
    rest_out = _masked_attention(query[:, :, prefix_length:], key, value, attention_mask, **options)
    return torch.cat([prefix_out, rest_out], dim=1), None


def _masked_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **unused: Any,
) -> torch.Tensor:
    """Attention with a mask [B, 1, M, N]: `query` [B, H, M, D], `key` and `value` [B, K, N, D] to [B, M, H, D].

    The H / K query heads that share keys are laid out as further queries of one head: the kernels that take a mask
    would need a copy of the keys for each query head otherwise.
    """
    batch, heads, length, width = query.shape
    repeats = heads // key.shape[1]
    queries = query.reshape(batch, key.shape[1], repeats * length, width)
    masks = mask.expand(-1, repeats, -1, -1).reshape(batch, 1, repeats * length, mask.shape[-1])
    out = scaled_dot_product_attention(queries, key, value, attn_mask=masks, dropout_p=dropout, scale=scaling)
    return out.reshape(batch, heads, length, value.shape[-1]).transpose(1, 2).contiguous()


AttentionInterface.register(BRANCHED, branched_attention)
AttentionMaskInterface.register(BRANCHED, sdpa_mask)
AttentionInterface.register(SLICED, sliced_attention)
AttentionMaskInterface.register(SLICED, sdpa_mask)
