"""The gradient of a step: the same from one process and from two, and the second process ends with the first."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
import torch

from tests.support import ROOT
from tests.support.torch_threads import num_threads
from videossr.errors import TrainingError
from videossr.train.warmup_gradients import PartGradient, part_gradients, set_gradient, two_parts

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="one process computes everything elsewhere")


class Line(torch.nn.Module):
    """slope * x + offset; `unused` never gets a gradient."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(2.0))
        self.offset = torch.nn.Parameter(torch.tensor(1.0))
        self.unused = torch.nn.Parameter(torch.zeros(3))
        self.device = torch.device("cpu")


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    with num_threads(request.param) as number:
        yield number


@pytest.fixture
def two_threads():
    with num_threads(2):
        yield


def compute(model, raises=False):
    """Part 0 of a step is one token at x = step, part 1 three tokens at x = 10, whose loss has no offset."""

    def part_of(step, part):
        if raises and part == 1:
            raise TrainingError("no sample fits")
        if part == 0:
            (model.slope * step + model.offset).backward()
            gradients = [model.slope.grad, model.offset.grad, None]
        else:
            (model.slope * 10).backward()
            gradients = [model.slope.grad, None, None]
        model.slope.grad = model.offset.grad = None
        return PartGradient((1.0, 20.0)[part], (1, 3)[part], gradients)

    return part_of


def test_both_parts_are_added_and_divided_by_all_tokens(threads):
    model = Line()
    with part_gradients(model, compute(model)) as gradients_of:
        assert bool(multiprocessing.active_children()) == (threads == 2 and sys.platform == "linux")
        for step in (4, 6):
            assert set_gradient(model, gradients_of(step)) == 21 / 4
            assert model.slope.grad.item() == (step + 10) / 4
            assert model.offset.grad.item() == 1 / 4
            assert model.unused.grad is None
            model.slope.grad = model.offset.grad = None
    assert not multiprocessing.active_children()
    assert torch.get_num_threads() == threads


@linux_only
def test_the_second_process_computes_with_the_weights_as_they_are_now(two_threads):
    model = Line()

    def square(step, part):
        (model.slope**2).backward()
        gradients = [model.slope.grad, None, None]
        model.slope.grad = None
        return PartGradient(0.0, 1, gradients)

    with part_gradients(model, square) as gradients_of:
        for value in (2.0, 5.0):
            with torch.no_grad():
                model.slope.fill_(value)
            set_gradient(model, gradients_of(0))
            assert model.slope.grad.item() == 2 * value
            model.slope.grad = None


def test_an_error_of_either_part_is_the_same_error(threads):
    model = Line()
    with pytest.raises(TrainingError, match="^no sample fits$"), part_gradients(model, compute(model, True)) as of:
        of(0)
    assert not multiprocessing.active_children()


@linux_only
def test_a_second_process_that_is_killed_is_one_sentence(two_threads):
    model = Line()
    with (
        pytest.raises(TrainingError, match="the second process of the warm start was killed.* run again, it continues"),
        part_gradients(model, compute(model)) as gradients_of,
    ):
        gradients_of(0)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        gradients_of(1)


@linux_only
def test_the_second_process_ends_when_the_first_is_killed():
    script = """
        import multiprocessing, time, torch
        from tests.train.test_warmup_gradients import Line, compute, part_gradients
        torch.set_num_threads(2)
        model = Line()
        with part_gradients(model, compute(model)) as gradients_of:
            gradients_of(0)
            print(multiprocessing.active_children()[0].pid, flush=True)
            time.sleep(60)
    """
    first = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=ROOT)
    second = psutil.Process(int(first.stdout.readline()))
    first.kill()
    first.wait()
    psutil.wait_procs([second], timeout=10)
    assert not second.is_running()


@pytest.mark.parametrize("size", [1, 2, 6, 16, 24])
def test_every_prompt_is_in_one_part(size):
    first, second = two_parts(size)
    assert [*first, *second] == list(range(size)) and len(second) >= len(first)
