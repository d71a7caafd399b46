"""One function over many items: results in the order of the items, and no item can stop the others.

Three engines give the same results: this process, processes of this machine, a Ray cluster. A process works on one item
at a time. When an item hangs, crashes or takes too much memory, its process is killed, `on_failure` makes a result for
the item, and a new process takes the next one.
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

__all__ = ["Executor", "Failure", "ItemFailed", "Limits", "RayCluster", "Workers", "parallel_map"]

T = TypeVar("T")
R = TypeVar("R")

# The number of processes of this machine, 0 for this process itself, or a cluster.
Workers = int | RayCluster

_log = logging.getLogger(__name__)
_PENDING_PER_EXECUTOR = 16  # items started ahead, whose results may have to wait for a slow item before them


class ItemFailed(RuntimeError):
    """An item has no result, and there is no `on_failure` to make one."""


class Executor(Protocol):
    """Runs the function on one pickled item at a time, in a process of this machine or of a cluster."""

    def run(self, item: bytes) -> bytes | Failure: ...

    def stop(self) -> None: ...


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: Workers,
    limits: Limits | None = None,
    on_failure: Callable[[T, Failure], R] | None = None,
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order.

    `function` must be importable from a module, and items and results must be picklable. `workers` 0 runs in this
    process, and so does 1 without limits. Memory does not grow with the number of items. A failed item gives
    `on_failure(item, failure)`; without `on_failure`, ItemFailed is raised. With limits, an item also fails where
    `function` raises anything but VideoSSRError; without limits, that error is raised here, as RuntimeError where its
    class is neither ours nor built in.
    """
    if not isinstance(workers, RayCluster) and (workers < 1 or (workers == 1 and limits is None)):
        return map(function, items)
    pickled = pickle.dumps(function)
    if isinstance(workers, RayCluster):
        return _map_in_order(ray_executors(workers, pickled, limits), items, on_failure)
    return _map_in_order([Supervisor(pickled, limits, Path.cwd(), sys.path) for _ in range(workers)], items, on_failure)


def _map_in_order(
    executors: Sequence[Executor], items: Iterable[T], on_failure: Callable[[T, Failure], R] | None
) -> Iterator[R]:
    free: SimpleQueue[Executor] = SimpleQueue()
    for executor in executors:
        free.put(executor)

    def run(item: T) -> R:
        executor = free.get()
        try:
            result = executor.run(pickle.dumps(item))
        finally:
            free.put(executor)
        return _handle_failure(item, result, on_failure) if isinstance(result, Failure) else pickle.loads(result)

    threads = ThreadPoolExecutor(len(executors))
    try:
        yield from _submit_ahead(run, iter(items), threads, _PENDING_PER_EXECUTOR * len(executors))
    finally:  # on early exit, cancel pending items and stop the running ones
        threads.shutdown(wait=False, cancel_futures=True)
        for executor in executors:
            executor.stop()
        threads.shutdown()


def _handle_failure(item: T, failure: Failure, on_failure: Callable[[T, Failure], R] | None) -> R:
    if on_failure is None:
        raise ItemFailed(f"{failure.detail}, at {item!r}")
    if failure.traceback:  # an unforeseen error rejects the item; the log keeps its traceback
        _log.error("%r raised\n%s", item, failure.traceback)
    return on_failure(item, failure)


def _submit_ahead(
    function: Callable[[T], R], items: Iterator[T], threads: ThreadPoolExecutor, max_pending: int
) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    while True:
        pending.extend(threads.submit(function, item) for item in islice(items, max_pending - len(pending)))
        if not pending:
            return
        yield pending.popleft().result()
