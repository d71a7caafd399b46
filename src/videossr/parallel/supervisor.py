"""One worker process at a time, which works on one item at a time and is killed when the item exceeds its limits."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

from videossr.errors import ConfigError, VideoSSRError
from videossr.parallel.limits import Failure, Limits
from videossr.parallel.stopwatch import Stopwatch
from videossr.parallel.worker import Raised, Result

_POLL_SECONDS = 0.05
# How much more memory than at its start a process may hold between two items. Heaps fragment and libraries leak a
# little with each item, which adds up over a hundred thousand videos.
_MAX_GROWTH_BYTES = 128 * 2**20
# The processes share the processors; threads of their libraries would only add memory and a slower start.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
_CRASHED_TWICE = Failure("crashed", "the process that read it died, twice")


class _ProcessDied(Exception):
    """The worker process ended before a message, or in the middle of one."""


@contextmanager
def _detect_death() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:  # OSError also when only half of a message was received
        raise _ProcessDied from error


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: "Connection[Any, Any]"

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds; 0 where the system does not report it."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Supervisor:
    """Runs a function on items, one after another, in a process that is started when needed and replaced when killed.

    Function, items and results are pickled bytes, so a supervisor in another program or on another machine need not be
    able to import them. The process works in `folder` and searches `path` for modules before its own `sys.path`.
    """

    def __init__(self, function: bytes, limits: Limits | None, folder: Path, path: Sequence[str]) -> None:
        self._function = function
        self._limits = limits
        self._folder = folder
        self._path = list(path)
        self._worker: _Worker | None = None
        self._idle_bytes = 0
        self._is_stopped = False
        self._start_lock = Lock()
        self._run_lock = Lock()

    def run(self, item: bytes) -> bytes | Failure:
        """Return the pickled result, or a Failure.

        An item whose process dies is tried a second time, because the system may have killed the process for another
        reason. With limits, anything that the function raises except VideoSSRError is a Failure; without limits it is
        raised here.
        """
        with self._run_lock:
            answer = self._try(item) or self._try(item)
            if isinstance(answer, Result | Raised) and self._is_over_memory(answer.peak_bytes):
                # Whatever the item says: where memory ends, libraries report damaged data as well.
                answer = self._out_of_memory()
            if isinstance(answer, Result):
                self._replace_if_grown()
                return answer.pickled
            self._kill()
            return self._failure_of(answer) if isinstance(answer, Raised) else answer or _CRASHED_TWICE

    def stop(self) -> None:
        """Kill the process, even during an item, and start no other."""
        with self._start_lock:
            self._is_stopped = True
            worker = self._worker
        if worker is not None:
            worker.process.kill()
        with self._run_lock:
            self._kill()

    def _try(self, item: bytes) -> Result | Raised | Failure | None:
        """The answer of the process to one item; None where the process died."""
        try:
            worker = self._running_worker()
            with _detect_death():
                worker.connection.send_bytes(item)
                return self._wait(worker) or worker.connection.recv()
        except _ProcessDied:
            self._kill()
            return None

    def _wait(self, worker: _Worker) -> Failure | None:
        """Wait until the process answers; a Failure where it exceeds a limit before."""
        if self._limits is None:
            worker.connection.poll(None)
            return None
        stopwatch = Stopwatch(worker.process.pid, self._limits.seconds)
        while not worker.connection.poll(_POLL_SECONDS):
            if failure := stopwatch.find_timeout():
                return failure
            if self._is_over_memory(worker.resident_bytes):
                return self._out_of_memory()
        return None

    def _is_over_memory(self, used_bytes: int) -> bool:
        return self._limits is not None and used_bytes > self._idle_bytes + self._limits.megabytes * 2**20

    def _out_of_memory(self) -> Failure:
        assert self._limits is not None
        return Failure("out_of_memory", f"more than {self._limits.megabytes} MB are needed")

    def _replace_if_grown(self) -> None:
        if self._worker is not None and self._worker.resident_bytes > self._idle_bytes + _MAX_GROWTH_BYTES:
            self._kill()

    def _failure_of(self, raised: Raised) -> Failure:
        if self._limits is None or isinstance(raised.error, VideoSSRError):
            raised.error.add_note(raised.traceback)
            raise raised.error
        if isinstance(raised.error, MemoryError):
            return self._out_of_memory()
        return Failure("crashed", raised.traceback.strip().splitlines()[-1], raised.traceback)

    def _running_worker(self) -> _Worker:
        if self._worker is not None:
            return self._worker
        worker = self._start()
        with _detect_death():
            worker.connection.send((self._path, self._limits))
            worker.connection.send_bytes(self._function)
            answer = worker.connection.recv()
        if isinstance(answer, Raised):  # the function cannot be imported there
            raise answer.error
        self._idle_bytes = worker.resident_bytes  # with all imports
        return worker

    def _start(self) -> _Worker:
        if not self._folder.is_dir():
            raise ConfigError(
                f"{platform.node()} has no folder {self._folder}: the machines of a cluster must share the project's "
                "file system, at the same path"
            )
        with self._start_lock:
            if self._is_stopped:
                raise RuntimeError("this supervisor was stopped")
            ours, theirs = Pipe()
            with theirs:
                # -P: a file in the current folder must not be imported in place of a module.
                command = [sys.executable, "-P", "-m", "videossr.parallel", str(theirs.fileno())]
                process = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env={**os.environ, **_ONE_THREAD},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            self._worker = _Worker(process, ours)
            return self._worker

    def _kill(self) -> None:
        if self._worker is not None:
            self._worker.process.kill()
            self._worker.process.wait()
            self._worker.connection.close()
            self._worker = None
