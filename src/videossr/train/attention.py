"""Attention over packed groups in two passes: the shared prefix as plain causal text, then the tokens after it.

One mask over all N tokens costs N x N and rules out the fast causal kernels; only the few tokens after the prefix need
a mask. Every other call is ordinary scaled-dot-product attention, so a model can keep this implementation throughout.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from videossr.models.model_inputs import backbone

BRANCHED = "branched"


def use_branched_attention(model: Any) -> None:
    """Let the language model attend over packed rows in two passes; its vision tower keeps its implementation."""
    backbone(model).set_attn_implementation({"text_config": BRANCHED})


def uses_branched_attention(model: Any) -> bool:
    """Whether `use_branched_attention` was called on this model."""
    return backbone(model).config.text_config._attn_implementation == BRANCHED


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
    if not prefix_length:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    prefix = (part[:, :, :prefix_length] for part in (query, key, value))
    prefix_out, _ = sdpa_attention_forward(module, *prefix, None, is_causal=True, **options)
    rest_out, _ = sdpa_attention_forward(module, query[:, :, prefix_length:], key, value, attention_mask, **options)
    return torch.cat([prefix_out, rest_out], dim=1), None


AttentionInterface.register(BRANCHED, branched_attention)
AttentionMaskInterface.register(BRANCHED, sdpa_mask)
