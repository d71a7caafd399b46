"""One function over many items, results in the order of the items, and no item can stop it.

Three engines, the same results from each: this process, processes of this machine, a Ray cluster. A process works on
one item at a time, so that an item which hangs, crashes or eats memory is known and costs itself alone: its process is
killed, the item becomes what `on_failure` makes of it, and a new process takes the next one.
"""

import logging
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

from videossr.parallel.limits import Failure, Limits
from videossr.parallel.ray_cluster import RayCluster, ray_executors
from videossr.parallel.supervisor import Supervisor

__all__ = ["Failure", "ItemFailed", "Limits", "RayCluster", "Workers", "parallel_map"]

T = TypeVar("T")
R = TypeVar("R")

# How many processes of this machine, 0 for this process itself, or a cluster.
Workers = int | RayCluster

_log = logging.getLogger(__name__)
_WAITING_PER_HAND = 16  # results that may wait for a slow item before them


class ItemFailed(RuntimeError):
    """An item has no result, and no one said what becomes of it."""


class _Executor(Protocol):
    """What works on one pickled item at a time: a process here, or an actor somewhere."""

    def run(self, item: bytes) -> bytes | Failure: ...

    def end(self) -> None: ...


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: Workers,
    limits: Limits | None = None,
    on_failure: Callable[[T, Failure], R] | None = None,
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order; `function` lies in a module, items and results travel.

    `workers` 0 stays in this process, and so does 1 where nothing is limited. Only a few results wait at a time, so
    memory does not grow with the number of items. An item that is lost becomes `on_failure(item, failure)`; without it,
    ItemFailed is raised. Under limits an item is also lost where `function` raises anything but VideoSSRError; without
    them, what it raises is raised here (as RuntimeError where its class is neither ours nor Python's own).
    """
    if not isinstance(workers, RayCluster) and (workers < 1 or (workers == 1 and limits is None)):
        return map(function, items)
    packed = pickle.dumps(function)
    if isinstance(workers, RayCluster):
        return _spread(ray_executors(workers, packed, limits), items, on_failure)
    return _spread([Supervisor(packed, limits, Path.cwd(), sys.path) for _ in range(workers)], items, on_failure)


def _spread(
    executors: Sequence[_Executor], items: Iterable[T], on_failure: Callable[[T, Failure], R] | None
) -> Iterator[R]:
    free: SimpleQueue[_Executor] = SimpleQueue()
    for executor in executors:
        free.put(executor)

    def work(item: T) -> R:
        executor = free.get()
        try:
            result = executor.run(pickle.dumps(item))
        finally:
            free.put(executor)
        return _taken(item, result, on_failure) if isinstance(result, Failure) else pickle.loads(result)

    threads = ThreadPoolExecutor(len(executors))
    try:
        yield from _in_order(work, iter(items), threads, _WAITING_PER_HAND * len(executors))
    finally:  # whoever leaves early waits for no further item
        threads.shutdown(wait=False, cancel_futures=True)
        for executor in executors:
            executor.end()
        threads.shutdown()


def _taken(item: T, failure: Failure, on_failure: Callable[[T, Failure], R] | None) -> R:
    if on_failure is None:
        raise ItemFailed(f"{failure.detail}, at {item!r}")
    if failure.traceback_text:  # what no one foresaw costs the item; the log keeps the whole traceback_text
        _log.error("%r raised\n%s", item, failure.traceback_text)
    return on_failure(item, failure)


def _in_order(
    function: Callable[[T], R], items: Iterator[T], threads: ThreadPoolExecutor, num_waiting: int
) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    while True:
        waiting.extend(threads.submit(function, item) for item in islice(items, num_waiting - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()
