"""Read the metrics of a step all at once, at its end.

TRL reads each metric of the loss with `.item()` while the loss is built. Each read makes the host wait until the device
has finished the forward pass, before the backward pass is even started.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from trl.trainer import grpo_trainer


@contextmanager
def defer_reads() -> Iterator[None]:
    """Inside, `.item()` on this thread returns the tensor itself, without its graph; `read_metrics` reads it later."""
    thread, item = threading.get_ident(), torch.Tensor.item
    originals = {name: getattr(grpo_trainer, name) for name in ("nanmin", "nanmax")}

    def deferred(tensor: torch.Tensor) -> Any:
        return tensor.detach() if threading.get_ident() == thread else item(tensor)

    torch.Tensor.item = deferred
    grpo_trainer.nanmin, grpo_trainer.nanmax = _nanmin, _nanmax
    try:
        yield
    finally:
        torch.Tensor.item = item
        for name, original in originals.items():
            setattr(grpo_trainer, name, original)


def read_metrics(metrics: Mapping[str, list[Any]]) -> None:
    """Replace the tensors among the values by their numbers, with one read for all of them."""
    places = [
        (values, i) for values in metrics.values() for i, value in enumerate(values) if isinstance(value, torch.Tensor)
    ]
    if places:
        numbers = torch.stack([values[i].double() for values, i in places]).tolist()
        for (values, i), number in zip(places, numbers, strict=True):
            values[i] = number


def _nanmin(tensor: torch.Tensor) -> torch.Tensor:
    """The smallest value [N] -> [] that is not NaN; NaN where there is none. As TRL's, without an index of values."""
    return -_nanmax(-tensor)


def _nanmax(tensor: torch.Tensor) -> torch.Tensor:
    is_nan = tensor.isnan()
    largest = tensor.masked_fill(is_nan, -torch.inf).max()
    return torch.where(is_nan.all(), torch.nan, largest)
