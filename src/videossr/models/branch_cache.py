"""A key-value cache in which the completions of a prompt are branches of one row."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionLayer


class BranchCache(Cache):
    """Keys and values of B prompts and of the tokens of their branches, in the dtype that the model computes in."""

    @classmethod
    def from_prefills(cls, prefills: Sequence[DynamicCache], width: int, group_size: int) -> "BranchCache":
        """Join the caches of several prefill passes, of at most `width` tokens each, and empty them.

        Linear attention has a state in place of keys; each of the `group_size` branches of a prompt gets a copy of it.
        """
        layers: list[CacheLayerMixin] = []
        for parts in zip(*(prefill.layers for prefill in prefills), strict=True):
            if isinstance(parts[0], LinearAttentionLayer):
                layers.append(_repeat_states(parts, group_size))
            else:
                keys, values = (_join([getattr(part, name) for part in parts], width) for name in ("keys", "values"))
                layers.append(_BranchLayer(keys, values))
            for part in parts:
                part.reset()
        return cls(layers=layers)


def _repeat_states(parts: Sequence[LinearAttentionLayer], group_size: int) -> LinearAttentionLayer:
    """A layer with the states of all prompts, each `group_size` times."""
    convolution, recurrent = (
        torch.cat([getattr(part, name)[0] for part in parts]).repeat_interleave(group_size, dim=0)
        for name in ("conv_states", "recurrent_states")
    )
    layer = LinearAttentionLayer()
    layer.update_conv_state(convolution)
    layer.update_recurrent_state(recurrent)
    return layer


class _BranchLayer(CacheLayerMixin):
    """One layer: buffers [B, heads, capacity, D] whose first `_length` tokens are filled."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = self._buffers = keys, values
        self._length = keys.shape[2]
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the layer is made from filled buffers."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Append the newest token of each branch, [B, heads, G, D]; returns all keys and all values."""
        start, self._length = self._length, self._length + key_states.shape[2]
        capacity = self._buffers[0].shape[2]
        if self._length > capacity:  # grow by an eighth at least, so that few tokens cause a copy
            room = max(key_states.shape[2], capacity // 8)
            self._buffers = tuple(pad(buffer, (0, 0, 0, room)) for buffer in self._buffers)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self._length] = states
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The number of keys, and their offset."""
        return self._length + query_length, 0

    def get_seq_length(self) -> int:
        """The number of cached tokens of a row."""
        return self._length

    def get_max_length(self) -> int:
        """There is no limit."""
        return -1


def _join(states: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    return torch.cat([pad(_in_compute_dtype(part), (0, 0, 0, width - part.shape[2])) for part in states])


def _in_compute_dtype(states: torch.Tensor) -> torch.Tensor:
    """Under autocast, keys leave their norm in float32; attention would convert the whole cache at every token."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states
