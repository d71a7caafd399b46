"""The shared prefix through linear attention (Gated DeltaNet, as in Qwen3.5).

Such a layer keeps no keys: it reads a row from left to right and carries a recurrent state and the last few inputs of a
convolution. No mask can hide one completion from the next. So the prefix is read once, and each branch continues from
the state at its end. Nothing is updated in place, so that the loss has a backward pass.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad, softplus
from transformers.models.qwen3_5.modeling_qwen3_5 import (
    Qwen3_5GatedDeltaNet,
    causal_conv1d_fn,
    torch_chunk_gated_delta_rule,
)
from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import Qwen3_5MoeGatedDeltaNet

from videossr.models.branch_cache import BranchCache

DELTA_NETS = (Qwen3_5GatedDeltaNet, Qwen3_5MoeGatedDeltaNet)


@dataclass(frozen=True)
class BranchIndex:
    """Where the tokens of B packed rows of N tokens belong.

    `prefix_ends` int64 [B] are the lengths of the prefixes. `branch_tokens` int64 [B, G * C] holds the places of the
    branches' tokens in their row, G branches of C tokens; where a branch is shorter, some place of the row.
    `outputs` int64 [B, N] holds for each token its place among the outputs of the prefix, followed by those of
    `branch_tokens`.
    """

    prefix_ends: torch.Tensor
    branch_tokens: torch.Tensor
    outputs: torch.Tensor
    num_branches: int
    longest_prefix: int

    def to(self, device: torch.device) -> "BranchIndex":
        """The same index on a device."""
        return replace(
            self,
            prefix_ends=self.prefix_ends.to(device),
            branch_tokens=self.branch_tokens.to(device),
            outputs=self.outputs.to(device),
        )


def index_branches(segments: torch.Tensor) -> BranchIndex:
    """From segments int64 [B, N] on the CPU: 0 is the prefix, i the i-th branch, -1 padding; each in one piece."""
    num_branches = int(segments.max())
    lengths = torch.stack([(segments == branch).sum(dim=1) for branch in range(num_branches + 1)], dim=1)
    prefix_ends, branch_lengths = lengths[:, 0], lengths[:, 1:]
    starts = lengths.cumsum(dim=1)[:, :-1]  # of the branches
    longest, longest_prefix = int(branch_lengths.max()), int(prefix_ends.max())
    tokens = starts[:, :, None] + torch.arange(longest)
    # Branch i's token j is output `longest_prefix + (i - 1) * longest + j`.
    branch, place = segments.clamp(min=1) - 1, torch.arange(segments.shape[1])
    outputs = longest_prefix + branch * longest + place - starts.gather(1, branch)
    outputs = torch.where(segments == 0, place, torch.where(segments < 0, 0, outputs))
    tokens = tokens.clamp(max=segments.shape[1] - 1).flatten(1)
    return BranchIndex(prefix_ends, tokens, outputs, num_branches, longest_prefix)


def use_branched_delta_nets(language_model: Any) -> None:
    """Let the linear-attention layers of a language model take `branches`, and decode branches of one cache row."""
    for module in language_model.modules():
        if isinstance(module, DELTA_NETS) and not isinstance(module.forward, partial):
            module.forward = partial(_forward, module, module.forward)


def _forward(
    module: Any,
    whole_rows: Any,
    hidden_states: torch.Tensor,
    cache_params: Any = None,
    attention_mask: torch.Tensor | None = None,
    branches: BranchIndex | None = None,
    tail_lengths: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """The layer's own forward pass, for packed rows [B, N, D] and for the newest tokens [B, G, D] of branches too.

    With `tail_lengths`, int64 [G], the newest tokens are G branches of T tokens each in one row, [1, G * T, D].
    """
    if branches is not None:
        return _packed_rows(module, hidden_states, branches)
    if tail_lengths is not None:
        tails = hidden_states.reshape(len(tail_lengths), -1, hidden_states.shape[-1])
        return _read_tails(module, tails, tail_lengths, cache_params).view_as(hidden_states)
    if not isinstance(cache_params, BranchCache):
        return whole_rows(hidden_states, cache_params=cache_params, attention_mask=attention_mask, **options)
    out = whole_rows(hidden_states.flatten(0, 1)[:, None], cache_params=cache_params, attention_mask=None, **options)
    return out.view_as(hidden_states)


def _packed_rows(module: Any, hidden_states: torch.Tensor, index: BranchIndex) -> torch.Tensor:
    """Each branch reads its own tokens, starting from the state that the prefix left."""
    inputs, beta, decay = _project(module, hidden_states)
    prefix_out, states = _read_prefix(module, inputs, beta, decay, index)
    branch_out = _read_branches(module, inputs, beta, decay, states, index)
    out = _gather(torch.cat([prefix_out, branch_out], dim=1), index.outputs)
    return _gated_output(module, hidden_states, out)


def _read_tails(module: Any, tails: torch.Tensor, lengths: torch.Tensor, cache: BranchCache) -> torch.Tensor:
    """Outputs [G, T, D] of tails [G, T, D] of different `lengths` [G]; each continues from its own cached state."""
    inputs, beta, decay = _project(module, tails)
    layer: Any = cache.layers[module.layer_idx]
    history = layer.conv_states[0].transpose(1, 2)  # the inputs before the tails
    reach = history.shape[1]
    inputs = torch.cat([history, inputs], dim=1)
    # Behind the end of a shorter tail nothing is written and nothing decays, so that its state stays.
    is_tail = (torch.arange(tails.shape[1], device=tails.device) < lengths[:, None])[..., None]
    convolved = _convolve(module, inputs)[:, reach:]
    out, state = _delta_rule(module, convolved, beta * is_tail, decay * is_tail, layer.recurrent_states[0])
    last_inputs = torch.arange(reach, device=tails.device) + lengths[:, None]
    layer.conv_states[0].copy_(_gather(inputs, last_inputs).transpose(1, 2))
    layer.recurrent_states[0].copy_(state)
    return _gated_output(module, tails, out)


def _project(module: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The inputs of the convolution [B, N, channels], and write strength and decay [B, N, heads]."""
    beta = module.in_proj_b(hidden_states).sigmoid()
    decay = -module.A_log.float().exp() * softplus(module.in_proj_a(hidden_states).float() + module.dt_bias)
    return module.in_proj_qkv(hidden_states), beta, decay


def _gated_output(module: Any, hidden_states: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    gate = module.in_proj_z(hidden_states).unflatten(-1, (-1, module.head_v_dim))
    return module.out_proj(module.norm(out.flatten(0, 2), gate.flatten(0, 2)).view(*hidden_states.shape[:2], -1))


def _read_prefix(
    module: Any, inputs: torch.Tensor, beta: torch.Tensor, decay: torch.Tensor, index: BranchIndex
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs [B, longest prefix, heads, D] and the states [B, heads, D, D] at the ends of the prefixes."""
    width = index.longest_prefix
    # Behind the end of a shorter prefix nothing is written and nothing decays, so that its state stays.
    is_prefix = (torch.arange(width, device=inputs.device) < index.prefix_ends[:, None])[..., None]
    return _delta_rule(
        module, _convolve(module, inputs[:, :width]), beta[:, :width] * is_prefix, decay[:, :width] * is_prefix, None
    )


def _read_branches(
    module: Any,
    inputs: torch.Tensor,
    beta: torch.Tensor,
    decay: torch.Tensor,
    states: torch.Tensor,
    index: BranchIndex,
) -> torch.Tensor:
    """Outputs [B, G * C, heads, D] of the branches."""
    size = index.num_branches

    def cut(values: torch.Tensor) -> torch.Tensor:
        return _gather(values, index.branch_tokens).unflatten(1, (size, -1)).flatten(0, 1)

    reach = module.conv_kernel_size - 1
    # Shifted by `reach` zeros, the inputs before the end of a prefix start at that end.
    before = torch.arange(reach, device=inputs.device) + index.prefix_ends[:, None]
    history = _gather(pad(inputs, (0, 0, reach, 0)), before).repeat_interleave(size, dim=0)
    convolved = _convolve(module, torch.cat([history, cut(inputs)], dim=1))[:, reach:]
    out, _ = _delta_rule(module, convolved, cut(beta), cut(decay), states.repeat_interleave(size, dim=0))
    return out.unflatten(0, (-1, size)).flatten(1, 2)


def _convolve(module: Any, inputs: torch.Tensor) -> torch.Tensor:
    weight = module.conv1d.weight.squeeze(1)
    out = causal_conv1d_fn(inputs.transpose(1, 2), weight, module.conv1d.bias, activation=module.activation)
    return out.transpose(1, 2)


def _delta_rule(
    module: Any, convolved: torch.Tensor, beta: torch.Tensor, decay: torch.Tensor, state: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    query, key, value = convolved.split([module.key_dim, module.key_dim, module.value_dim], dim=-1)
    return torch_chunk_gated_delta_rule(
        query.unflatten(-1, (-1, module.head_k_dim)),
        key.unflatten(-1, (-1, module.head_k_dim)),
        value.unflatten(-1, (-1, module.head_v_dim)),
        g=decay,
        beta=beta,
        initial_state=state,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )


def _gather(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """From values [B, N, ...] those at `places` [B, M], as [B, M, ...]."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, places]
