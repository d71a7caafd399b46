"""Measure processor time and memory of two sides in alternation."""

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
    """Processor seconds of a piece of work, and the peak of its process's resident memory."""

    cpu_seconds: float
    peak_bytes: int


def measure_cost(work: Callable[[], object]) -> Cost:
    """Run `work` in a new process. Its imports count towards memory but not towards seconds."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure_here, work).result()


def measure_cpu_seconds(work: Callable[[], object]) -> float:
    """Run `work` in this process; returns its processor seconds, user and system."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(ours: Callable[[], Ours], theirs: Callable[[], Theirs], rounds: int) -> tuple[list[Ours], list[Theirs]]:
    """Call both sides once per round and return their results. The side that starts changes from round to round.

    Other load on the machine then affects both sides equally.
    """
    our_results: list[Ours] = []
    their_results: list[Theirs] = []
    for number in range(rounds):
        if number % 2:
            their_results.append(theirs())
        our_results.append(ours())
        if not number % 2:
            their_results.append(theirs())
    return our_results, their_results


def _measure_here(work: Callable[[], object]) -> Cost:
    seconds = measure_cpu_seconds(work)
    # Not ru_maxrss: a child inherits its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(seconds, peak * 1024)
