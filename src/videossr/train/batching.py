"""Rows of a batch, which come in groups: cut and put together again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad


def chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a sequence into pieces of `size`, the last maybe shorter."""
    return [values[at : at + size] for at in range(0, len(values), size)]


def truncate_at_end(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """A completion up to and with its first end token."""
    for place, token in enumerate(row):
        if token in end_ids:
            return row[: place + 1]
    return row


def split_groups(batch: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Cut a generated batch into `count` micro-batches of whole groups; what is not a row stays shared."""
    num_rows = len(batch["completion_ids"])

    def cut(value: Any, part: int) -> Any:
        whole = isinstance(value, torch.Tensor) and (value.dim() == 0 or len(value) != num_rows)
        if value is None or whole:
            return value
        size = len(value) // count
        return value[part * size : (part + 1) * size]

    return [{name: cut(value, part) for name, value in batch.items()} for part in range(count)]


def concatenate_padded(values: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Rows [R_i, C_i] of several passes as one tensor [sum of R, width], zero beyond each."""
    return torch.cat([pad(value, (0, width - value.shape[1])) for value in values])
