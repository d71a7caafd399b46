"""One function over many items in several processes, results in the order of the items, and no item can stop it.

A process works on one item at a time, so that an item which hangs, crashes or eats memory is known and costs itself
alone: its process is killed, the item becomes what `on_loss` makes of it, and a new process takes the next one.
"""

import logging
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from videossr.errors import ConfigError, VideoSSRError

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.05
_WAITING_PER_WORKER = 16  # results that may wait for a slow item before them


@dataclass(frozen=True)
class Limits:
    """What one item may cost: seconds on the clock, and memory beyond what an idle process has.

    Memory is limited on Linux alone: other systems do not count what a process has allocated.
    """

    seconds: float = 300.0
    megabytes: int = 2048

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.megabytes < 64:
            raise ConfigError(
                f"an item needs more than 0 seconds and at least 64 megabytes, got {self.seconds} and {self.megabytes}"
            )


@dataclass(frozen=True)
class Loss:
    """Why an item has no result: `reason` is timeout, out_of_memory or crashed."""

    reason: str
    detail: str


def in_processes(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    limits: Limits | None = None,
    on_loss: Callable[[T, Loss], R] | None = None,
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order, from `workers` processes.

    `workers` 0 stays in this process, and so does 1 where nothing is limited. Only a few results wait at a time, so
    memory does not grow with the number of items. An item that is lost becomes `on_loss(item, loss)`; without it,
    BrokenProcessPool is raised. Under limits an item is also lost where `function` raises anything but VideoSSRError;
    without them, what it raises is raised here.
    """
    if workers < 1 or (workers == 1 and limits is None):
        yield from map(function, items)
        return
    minders: SimpleQueue[_Minder] = SimpleQueue()
    everyone = [_Minder(limits) for _ in range(workers)]
    for minder in everyone:
        minders.put(minder)

    def mind(item: T) -> R:
        minder = minders.get()
        try:
            result = minder.run(function, item)
        finally:
            minders.put(minder)
        if not isinstance(result, Loss):
            return result
        if on_loss is None:
            raise BrokenProcessPool(f"{result.detail}, at {item!r}")
        return on_loss(item, result)

    threads = ThreadPoolExecutor(workers)
    try:
        yield from _in_order(mind, iter(items), threads, _WAITING_PER_WORKER * workers)
    finally:  # whoever leaves early waits for no further item
        threads.shutdown(wait=False, cancel_futures=True)
        for minder in everyone:
            minder.end()
        threads.shutdown()


def _in_order(
    function: Callable[[T], R], items: Iterator[T], threads: ThreadPoolExecutor, num_waiting: int
) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    while True:
        waiting.extend(threads.submit(function, item) for item in islice(items, num_waiting - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()


class _Minder:
    """One process at a time, started when needed, killed when its item takes too long."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0
        self._idle_bytes = 0
        self._ended = False
        self._lock = Lock()

    def run(self, function: Callable[[T], R], item: T) -> R | Loss:
        """The result; a death is tried once more, because the system may have killed an innocent process."""
        for _ in range(2):
            future = self._started(function).submit(function, item)
            loss = self._watch(future)
            if loss is not None:
                self._stop()
                return loss
            error = future.exception()
            if error is None:
                return future.result()
            if not isinstance(error, BrokenProcessPool):
                return self._failed(error, item)
            self._stop()
        return Loss("crashed", "the process that read it died, twice")

    def _watch(self, future: Future[R]) -> Loss | None:
        """Wait for the end of an item, however it ends; a Loss where it must not go on."""
        if self._limits is None:
            wait([future])
            return None
        deadline = time.monotonic() + self._limits.seconds
        while not wait([future], timeout=_WATCH_SECONDS).done:
            if time.monotonic() > deadline:
                return Loss("timeout", f"not done after {self._limits.seconds:g} seconds")
            if _resident_bytes(self._pid) > self._idle_bytes + self._limits.megabytes * 2**20:
                return Loss("out_of_memory", f"more than {self._limits.megabytes} MB are needed")
        return None

    def _failed(self, error: BaseException, item: object) -> Loss:
        """What no one foresaw: under limits it costs the item, and the log keeps the whole story."""
        if self._limits is None or isinstance(error, VideoSSRError):
            raise error
        self._stop()
        if isinstance(error, MemoryError):
            return Loss("out_of_memory", f"more than {self._limits.megabytes} MB are needed")
        _log.error("%r raised", item, exc_info=error)
        return Loss("crashed", f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Kill the process, whatever it does, and start no other."""
        with self._lock:
            self._ended = True
        self._stop()

    def _started(self, function: Callable[..., object]) -> ProcessPoolExecutor:
        with self._lock:
            if self._ended:
                raise RuntimeError("the items are no longer wanted")
            if self._pool is None:
                # Spawned: ffmpeg and its threads do not survive a fork.
                self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_follow_parent)
                self._pid = self._pool.submit(_limit_memory, self._limits, function).result()
                self._idle_bytes = _resident_bytes(self._pid)
            return self._pool

    def _stop(self) -> None:
        with self._lock:
            if self._pool is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                self._pool.shutdown()
                self._pool = None


def _resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _limit_memory(limits: Limits | None, _imported: Callable[..., object]) -> int:
    """In a new process: what grows faster than it is watched fails beyond twice the limit. Returns the process id.

    The function comes along so that its imports count as idle.
    """
    if limits is not None and sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        allocated = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:")) * 1024
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = allocated + 2 * limits.megabytes * 2**20
        soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, most))
    return os.getpid()


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: a killed parent cannot say goodbye."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
