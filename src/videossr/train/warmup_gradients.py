"""The gradient of a step of the warm start, computed by two processes where the machine has two cores.

The tiny policy is too small for two threads to share a product, and threads of Python wait for each other. So a second
process computes the gradient of a fixed part of each step's prompts. Weights and gradients are in shared memory. Every
process computes with one thread and the parts are added in one order: the weights do not depend on the number of cores.
"""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from videossr.errors import TrainingError, VideoSSRError
from videossr.train.batching import chunks
from videossr.train.prefix import Group, answer_losses

# Of the prompts; the second process computes the others, because this one updates the weights too.
_FIRST_PART = 7 / 16


@dataclass(frozen=True)
class PartGradient:
    """Of some prompts: the sum of the losses of their answer tokens, the number of these, and its gradient.

    `gradients` has one entry a weight that is trained: a tensor of its shape, or None where the loss does not depend on
    it.
    """

    loss: float
    num_tokens: int
    gradients: Sequence[torch.Tensor | None]


def part_gradient(model: Any, groups: Sequence[Group], per_forward: int, pad_token_id: int) -> PartGradient:
    """The gradient of the summed losses of all answer tokens, end tokens included.

    Prompts of about one length share a forward pass, which then holds little padding.
    """
    weights, total = trained_weights(model), 0.0
    for part in chunks(sorted(groups, key=lambda group: len(group.prompt)), per_forward):
        loss = answer_losses(model, part, pad_token_id).sum()
        loss.backward()
        total += loss.item()
    gradients = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return PartGradient(total, sum(len(ids) for group in groups for ids in group.completions), gradients)


def set_gradient(model: Any, parts: Sequence[PartGradient]) -> float:
    """Set the gradient of the mean loss per answer token over all `parts`; returns the loss."""
    num_tokens = sum(part.num_tokens for part in parts)
    for weight, *gradients in zip(trained_weights(model), *(part.gradients for part in parts), strict=True):
        present = [gradient for gradient in gradients if gradient is not None]
        weight.grad = sum(present[1:], start=present[0]) / num_tokens if present else None
    return sum(part.loss for part in parts) / num_tokens


def trained_weights(model: Any) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def two_parts(size: int) -> tuple[range, range]:
    """Which of a step's `size` prompts this process computes, and which the second one."""
    first = int(size * _FIRST_PART)
    return range(first), range(first, size)


@contextmanager
def part_gradients(
    model: Any, compute: Callable[[int, int], PartGradient]
) -> Iterator[Callable[[int], list[PartGradient]]]:
    """From the number of a step to the gradients of its two parts; `compute(step, part)` computes one of them.

    On a CPU this process computes with one thread within the context. On Linux with two cores a second process, forked
    here, computes the second part; it ends with the context, or with this process. Raises TrainingError where it dies.
    """

    def one_after_the_other(step: int) -> list[PartGradient]:
        return [compute(step, 0), compute(step, 1)]

    if model.device.type != "cpu":
        yield one_after_the_other
        return
    with ExitStack() as at_end:
        num_threads = torch.get_num_threads()
        at_end.callback(torch.set_num_threads, num_threads)
        torch.set_num_threads(1)
        if num_threads == 1 or sys.platform != "linux":
            yield one_after_the_other
        else:
            second = at_end.enter_context(closing(_SecondProcess(model, lambda step: compute(step, 1))))
            yield lambda step: second.beside(step, lambda: compute(step, 0))


class _SecondProcess:
    """A copy of this process that computes gradients with the weights of `model`, which moves to shared memory.

    It is forked before this process computes a gradient, and keeps to one thread: torch allows both.
    """

    def __init__(self, model: Any, compute: Callable[[int], PartGradient]) -> None:
        model.share_memory()
        self._buffers = [torch.empty_like(weight).share_memory_() for weight in trained_weights(model)]
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=self._serve, args=(compute, other), name="warm-start", daemon=True)
        self._process.start()
        other.close()

    def beside(self, step: int, compute: Callable[[], PartGradient]) -> list[PartGradient]:
        """What `compute` returns here, and the other part of the step, which the second process computes meanwhile."""
        try:
            self._pipe.send(step)
            own, answer = compute(), self._pipe.recv()
        except (EOFError, ConnectionError):
            raise TrainingError(
                "the second process of the warm start was killed, for want of memory perhaps: run again, it continues "
                "from its last checkpoint"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        loss, num_tokens, is_present = answer
        gradients = [buffer if present else None for buffer, present in zip(self._buffers, is_present, strict=True)]
        return [own, PartGradient(loss, num_tokens, gradients)]

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _serve(self, compute: Callable[[int], PartGradient], pipe: Connection) -> None:
        """Answer until the other process closes the pipe, or ends."""
        self._pipe.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the first one ends this one
        while True:
            try:
                pipe.send(self._answer(compute, pipe.recv()))
            except (EOFError, ConnectionError):
                return

    def _answer(self, compute: Callable[[int], PartGradient], step: int) -> Any:
        try:
            part = compute(step)
        except VideoSSRError as error:
            return error
        for buffer, gradient in zip(self._buffers, part.gradients, strict=True):
            if gradient is not None:
                buffer.detach().copy_(gradient)
        return part.loss, part.num_tokens, [gradient is not None for gradient in part.gradients]
