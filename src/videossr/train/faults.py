"""What stops training: one sentence for the person, and the data that a developer needs to look into it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.distributed.tensor import DTensor

from videossr.errors import TrainingError
from videossr.storage.atomic import write_json


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn an out-of-memory error into a TrainingError that names the parameters to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
        size = f" ({wanted[1]} more were asked for)" if wanted else ""
        raise TrainingError(
            f"memory ran out{size}: lower grpo.prompts_per_forward or prompts_per_rollout or set "
            "gradient_checkpointing: true, and the run goes on; or, as another run, lower max_completion_tokens, show "
            "fewer or smaller frames, or train adapters (train.lora)"
        ) from None


def gradient_norm(model: Any) -> torch.Tensor:
    """The norm of all gradients, a scalar: not finite where one of them is not. 0 where there is none."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def has_finite_weights(model: Any) -> bool:
    """Whether every weight of this process is finite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def stop_with_batch(path: Path, fault: str, step: int, sample_ids: Sequence[str], batch: Mapping[str, Any]) -> NoReturn:
    """Write the tensors of the batch that broke training to `path`, as JSON, and raise TrainingError.

    Called before the weights are updated.
    """
    tensors = {name: value.tolist() for name, value in batch.items() if isinstance(value, torch.Tensor)}
    write_json(path, {"step": step, "fault": fault, "sample_ids": list(sample_ids), **tensors})
    raise TrainingError(
        f"training must stop: {fault} in step {step}; the batch is kept in {path}: lower train.grpo.learning_rate and "
        "run again, which starts again from the warm start"
    )
