"""The worker process: one function over items that arrive one at a time.

The process is started with `python -m` and not by multiprocessing: ffmpeg and its threads do not survive a fork, and
multiprocessing's spawn first imports the main module of the program, which items do not need.
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

# Memory that a decoder frees stays with the process, scattered over the heap. Returning it takes milliseconds.
_TRIM_SECONDS = 1.0


@dataclass(frozen=True)
class Ready:
    """The function is imported and the memory is limited."""


@dataclass(frozen=True)
class Result:
    """The function's result for an item, pickled, because the supervisor may not be able to import its class.

    `peak_bytes` is the most memory that the process ever held; 0 where the system does not report it.
    """

    pickled: bytes
    peak_bytes: int


@dataclass(frozen=True)
class Raised:
    """The error that ended the process, its traceback as text, and the most memory that the process ever held."""

    error: BaseException
    traceback: str
    peak_bytes: int


def main(descriptor: int) -> None:
    """Receive (`sys.path`, limits), the pickled function, then pickled items; send Ready, then a Result for each item.

    An error of the function is sent as Raised and ends the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    Thread(target=_exit_with_parent, args=(descriptor,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(descriptor)
    sys.excepthook = partial(_send_error, connection)
    path, limits = connection.recv()
    sys.path[:] = path + [own for own in sys.path if own not in path]
    function = pickle.loads(connection.recv_bytes())
    if limits is not None and sys.platform == "linux":
        _limit_memory(limits)
    connection.send(Ready())
    _process_items(connection, function)


def _process_items(connection: "Connection[Any, Any]", function: Callable[[Any], Any]) -> None:
    malloc_trim = getattr(CDLL(None), "malloc_trim", None)  # in glibc only
    last_trim = time.monotonic()
    for item in _iter_items(connection):
        result = pickle.dumps(function(item))
        connection.send(Result(result, _peak_bytes()))
        if malloc_trim and time.monotonic() - last_trim > _TRIM_SECONDS:
            malloc_trim(0)
            last_trim = time.monotonic()


def _iter_items(connection: "Connection[Any, Any]") -> Iterator[Any]:
    with suppress(EOFError):  # the supervisor has closed its end
        while True:
            yield pickle.loads(connection.recv_bytes())


def _send_error(
    connection: "Connection[Any, Any]",
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    if isinstance(error, MemoryError):
        traceback.clear_frames(trace)  # frees the objects that filled the memory
    text = "".join(traceback.format_exception(kind, error, trace))
    connection.send(Raised(_picklable(error), text, _peak_bytes()))


def _picklable(error: BaseException) -> BaseException:
    """The error, or one with the same message where its class may not unpickle in another process."""
    if isinstance(error, VideoSSRError) or type(error).__module__ == "builtins":
        return error.with_traceback(None)
    if isinstance(error, OSError) and error.errno is not None:  # of a library: a full disk must stay a full disk
        return OSError(error.errno, error.strerror, error.filename)
    message = f"{type(error).__name__}: {error}"
    return MemoryError(message) if isinstance(error, MemoryError) else RuntimeError(message)


def _limit_memory(limits: Limits) -> None:
    """Set a hard limit of twice the allowed memory, for allocations that grow faster than the supervisor polls."""
    import resource  # not on every system

    allocated = _read_status("VmData:")
    _, maximum = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = allocated + 2 * limits.megabytes * 2**20
    soft = wanted if maximum == resource.RLIM_INFINITY else min(wanted, maximum)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, maximum))


def _peak_bytes() -> int:
    return _read_status("VmHWM:") if sys.platform == "linux" else 0


def _read_status(key: str) -> int:
    """A figure of this process in bytes, as Linux reports it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(key)), 0)


def _exit_with_parent(descriptor: int) -> None:
    """Exit when the parent's end of the connection closes, which also happens when the parent is killed."""
    hangup = select.poll()
    hangup.register(descriptor, 0)
    hangup.poll()
    os._exit(1)
