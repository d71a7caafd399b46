"""What runs in a process of its own: one function over items that arrive one at a time.

The process is started with `python -m`, not by multiprocessing: ffmpeg and its threads do not survive a fork, and
multiprocessing's spawn imports the program's main module, which no item needs, before it begins.
"""

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from videossr.errors import VideoSSRError
from videossr.parallel.limits import Limits

# What a decoder frees lies scattered over the heap and is kept, more each hour; giving it back takes milliseconds.
_TRIM_SECONDS = 1.0


@dataclass(frozen=True)
class Ready:
    """The function is imported, the memory is limited."""


@dataclass(frozen=True)
class Done:
    """What the function returned for an item, pickled: whoever minds this process need not be able to read it."""

    result: bytes


@dataclass(frozen=True)
class Failed:
    """What ended the process; `traceback_text` is the traceback."""

    error: BaseException
    traceback_text: str


def main(descriptor: int) -> None:
    """Receive (`sys.path`, limits), the pickled function, then pickled items; answer Ready, then Done for each.

    Whatever the function raises ends the process, and is its last word.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(descriptor)
    sys.excepthook = partial(_say_last_words, connection)
    path, limits = connection.recv()
    sys.path[:] = path + [own for own in sys.path if own not in path]
    function = pickle.loads(connection.recv_bytes())
    if limits is not None and sys.platform == "linux":
        _limit_memory(limits)
    connection.send(Ready())
    _answer(connection, function)


def _answer(connection: "Connection[Any, Any]", function: Callable[[Any], Any]) -> None:
    trim = getattr(CDLL(None), "malloc_trim", None)  # glibc's
    trimmed = time.monotonic()
    for item in _received(connection):
        connection.send(Done(pickle.dumps(function(item))))
        if trim and time.monotonic() - trimmed > _TRIM_SECONDS:
            trim(0)
            trimmed = time.monotonic()


def _received(connection: "Connection[Any, Any]") -> Iterator[Any]:
    with suppress(EOFError):  # nothing more is wanted
        while True:
            yield pickle.loads(connection.recv_bytes())


def _say_last_words(
    connection: "Connection[Any, Any]",
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    if isinstance(error, MemoryError):
        traceback.clear_frames(trace)  # what filled the memory lies there
    traceback_text = "".join(traceback.format_exception(kind, error, trace))
    connection.send(Failed(_that_travels(error), traceback_text))


def _that_travels(error: BaseException) -> BaseException:
    """The error, or one that says the same where its class may not survive the way to another process."""
    if isinstance(error, VideoSSRError) or type(error).__module__ == "builtins":
        return error.with_traceback(None)
    if isinstance(error, OSError) and error.errno is not None:  # a library's own: a full disk must stay a full disk
        return OSError(error.errno, error.strerror, error.filename)
    told = f"{type(error).__name__}: {error}"
    return MemoryError(told) if isinstance(error, MemoryError) else RuntimeError(told)


def _limit_memory(limits: Limits) -> None:
    """What grows faster than it is watched fails beyond twice the limit."""
    import resource  # not on every system

    status = Path("/proc/self/status").read_text(encoding="ascii")
    allocated = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:")) * 1024
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = allocated + 2 * limits.megabytes * 2**20
    soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def _end_with_parent(descriptor: int) -> None:
    """A parent that was killed cannot say goodbye: its end of the connection closes with it."""
    hangup = select.poll()
    hangup.register(descriptor, 0)
    hangup.poll()
    os._exit(1)
