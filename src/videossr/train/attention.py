"""Attention over packed groups in two passes: the stem that all rows share as plain causal text, then what lies behind.

One mask for all N tokens costs N x N and forbids the fast causal kernels; only the few tokens behind the shortest stem
need a mask. Any other call is ordinary scaled-dot-product attention, so that a model can keep this one throughout.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videossr.models.model_inputs import backbone

BRANCHED = "branched"


def attend_by_branches(model: Any) -> None:
    """Let the language model take packed rows in two passes; its vision tower stays as it is."""
    backbone(model).set_attn_implementation({"text_config": BRANCHED})


def attends_by_branches(model: Any) -> bool:
    """Whether `attend_by_branches` was called on this model."""
    return backbone(model).config.text_config._attn_implementation == BRANCHED


def branched_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    stem: int = 0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query` [B, H, N, D], `key` and `value` [B, K, N, D] to [B, N, H, D].

    The first `stem` tokens of every row are causal; `attention_mask`, bool [B, 1, N - stem, N], says what the others
    see. Without a stem the mask is that of all tokens, as usual.
    """
    if not stem:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    first = (part[:, :, :stem] for part in (query, key, value))
    common, _ = sdpa_attention_forward(module, *first, None, is_causal=True, **options)
    behind, _ = sdpa_attention_forward(module, query[:, :, stem:], key, value, attention_mask, **options)
    return torch.cat([common, behind], dim=1), None


AttentionInterface.register(BRANCHED, branched_attention)
AttentionMaskInterface.register(BRANCHED, sdpa_mask)
