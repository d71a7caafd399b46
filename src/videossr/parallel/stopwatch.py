"""How long a process works on an item: its processor time, which does not depend on what else the machine does."""

import time

import psutil

from videossr.parallel.limits import Failure


class Stopwatch:
    """Started when a process gets an item; tells when the item takes longer than `seconds`.

    Counted are seconds of processor time, and seconds in which the process waits without a break for something else
    than a processor, such as a file that never comes.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        self._process = psutil.Process(pid)
        self._seconds = seconds
        self._start = self._last = self._cpu_seconds()
        self._last_work = time.monotonic()

    def find_timeout(self) -> Failure | None:
        """The failure of the item if its time is up. A process that has ended has none."""
        try:
            used = self._cpu_seconds()
            is_waiting = used == self._last and self._process.status() != psutil.STATUS_RUNNING
        except psutil.NoSuchProcess:
            return None
        self._last = used
        if not is_waiting:
            self._last_work = time.monotonic()
        if used - self._start > self._seconds:
            return Failure("timeout", f"not done after {self._seconds:g} seconds of processor time")
        if time.monotonic() - self._last_work > self._seconds:
            return Failure("timeout", f"its data did not come within {self._seconds:g} seconds")
        return None

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
