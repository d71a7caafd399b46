"""What a piece of work costs, measured in a process of its own."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one piece of work took: processor seconds and the peak of resident memory of its process."""

    cpu_seconds: float
    peak_bytes: int


def cost(work: Callable[[], object]) -> Cost:
    """Do `work` in a new process; the seconds of its imports are not counted, their memory is."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, work).result()


def _measured(work: Callable[[], object]) -> Cost:
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    # Not ru_maxrss: a child inherits its parent's peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(seconds, peak * 1024)
