"""One function over many items in several processes, results in the order of the items."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    function: Callable[[T], R], items: Iterable[T], workers: int, on_death: Callable[[T], R] | None = None
) -> Iterator[R]:
    """Yield `function(item)` for every item, in order; `workers` <= 1 stays in this process.

    Only a few results wait at a time, so memory does not grow with the number of items. Where a process dies (a decoder
    that crashes, memory that runs out), the items it may have held are tried again one by one, and the one that kills
    its process alone becomes `on_death(item)`, or BrokenProcessPool without it.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    left = iter(items)
    held: deque[T] = deque()
    while True:
        try:
            yield from _until_death(function, left, workers, held)
            return
        except BrokenProcessPool:
            yield from _one_by_one(function, held, on_death)


def _until_death(function: Callable[[T], R], left: Iterator[T], workers: int, held: deque[T]) -> Iterator[R]:
    """Results in order; `held` are the items whose results have not been yielded yet."""
    with _pool(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            while True:
                for item in islice(left, 4 * workers - len(waiting)):
                    held.append(item)
                    waiting.append(pool.submit(function, item))
                if not waiting:
                    return
                result = waiting.popleft().result()
                held.popleft()
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # whoever leaves early waits for no further item


def _one_by_one(function: Callable[[T], R], held: deque[T], on_death: Callable[[T], R] | None) -> Iterator[R]:
    """Empty `held` in a process that runs nothing else, a new one after each death."""
    while held:
        with _pool(1) as pool:
            try:
                while held:
                    result = pool.submit(function, held[0]).result()
                    held.popleft()
                    yield result
            except BrokenProcessPool:
                if on_death is None:
                    raise
                yield on_death(held.popleft())


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned: ffmpeg and its threads do not survive a fork.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_follow_parent)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends: a killed parent cannot say goodbye."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
