"""What a piece of work costs, measured in a process of its own."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")


@dataclass(frozen=True)
class Cost:
    """What one piece of work took: processor seconds and the peak of resident memory of its process."""

    cpu_seconds: float
    peak_bytes: int


def cost(work: Callable[[], object]) -> Cost:
    """Do `work` in a new process; the seconds of its imports are not counted, their memory is."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, work).result()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process, user and system."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turns(ours: Callable[[], Ours], theirs: Callable[[], Theirs], rounds: int) -> tuple[list[Ours], list[Theirs]]:
    """Both sides `rounds` times in turns, who begins changing: whatever else the machine does meets both."""
    of_ours: list[Ours] = []
    of_theirs: list[Theirs] = []
    for turn in range(rounds):
        if turn % 2:
            of_theirs.append(theirs())
        of_ours.append(ours())
        if not turn % 2:
            of_theirs.append(theirs())
    return of_ours, of_theirs


def _measured(work: Callable[[], object]) -> Cost:
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    # Not ru_maxrss: a child inherits its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(seconds, peak * 1024)
