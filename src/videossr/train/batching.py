"""Rows of a batch stand in groups: cutting a batch between groups, and joining the results of several passes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad


def chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a sequence into pieces of `size`; the last may be shorter."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def split_groups(batch: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Cut a generated batch into `count` micro-batches of whole groups.

    Tensors with one entry a row and lists with one entry a group are cut; every other value is shared.
    """
    num_rows = len(batch["completion_ids"])

    def part_of(value: Any, part: int) -> Any:
        is_shared = isinstance(value, torch.Tensor) and (value.dim() == 0 or len(value) != num_rows)
        if value is None or is_shared:
            return value
        size = len(value) // count
        return value[part * size : (part + 1) * size]

    return [{name: part_of(value, part) for name, value in batch.items()} for part in range(count)]


def concatenate_padded(values: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Rows [R_i, C_i] of several passes as one tensor [sum of R_i, width], zero after the end of each row."""
    return torch.cat([pad(value, (0, width - value.shape[1])) for value in values])
