"""One process at a time that works on one item at a time, and is killed when its item takes too much."""

import os
import platform
import subprocess
import sys
import time
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
from videossr.parallel.worker import Done, Failed

_WATCH_SECONDS = 0.05
# What a process may keep between two items of what they took: a heap frays, and libraries leave a little behind each
# time, which over a hundred thousand videos would be much.
_KEPT_BYTES = 128 * 2**20
# Processes share the processors out; threads of their libraries would only cost each of them memory and a slower start.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
_DIED = Failure("crashed", "the process that read it died, twice")


class _Died(Exception):
    """The process ended, and with it the connection: before a message, or in the middle of one."""


@contextmanager
def _death_noticed() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:  # OSError also where half a message has come
        raise _Died from error


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: "Connection[Any, Any]"

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds; 0 where the system does not say."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Supervisor:
    """Runs a function on one item after the other in a process that is started when needed, and again after a failure.

    Function, items and results are pickled: a minder in another program, or on another machine, need not know them.
    The process works in `folder`, and searches `path` for modules before its own `sys.path`.
    """

    def __init__(self, function: bytes, limits: Limits | None, folder: Path, path: Sequence[str]) -> None:
        self._function = function
        self._limits = limits
        self._folder = folder
        self._path = list(path)
        self._worker: _Worker | None = None
        self._idle_bytes = 0
        self._ended = False
        self._starting = Lock()
        self._running = Lock()

    def run(self, item: bytes) -> bytes | Failure:
        """The result; a death is tried once more, because the system may have killed an innocent process.

        Under limits, whatever the function raises but VideoSSRError is a Loss; without them it is raised here.
        """
        with self._running:
            answer = self._answer(item) or self._answer(item)
            if isinstance(answer, Done):
                self._replace_if_large()
                return answer.result
            self._stop()
            return self._failed(answer) if isinstance(answer, Failed) else answer or _DIED

    def end(self) -> None:
        """Kill the process, whatever it does, and start no other."""
        with self._starting:
            self._ended = True
            worker = self._worker
        if worker is not None:
            worker.process.kill()
        with self._running:
            self._stop()

    def _answer(self, item: bytes) -> Done | Failed | Failure | None:
        """What comes of an item; None where its process died."""
        try:
            worker = self._started()
            with _death_noticed():
                worker.connection.send_bytes(item)
                return self._watch(worker) or worker.connection.recv()
        except _Died:
            self._stop()
            return None

    def _watch(self, worker: _Worker) -> Failure | None:
        """Wait for the end of an item, however it ends; a Failure where it must not go on."""
        if self._limits is None:
            worker.connection.poll(None)
            return None
        deadline = time.monotonic() + self._limits.seconds
        while not worker.connection.poll(_WATCH_SECONDS):
            if time.monotonic() > deadline:
                return Failure("timeout", f"not done after {self._limits.seconds:g} seconds")
            if worker.resident_bytes > self._idle_bytes + self._limits.megabytes * 2**20:
                return Failure("out_of_memory", f"more than {self._limits.megabytes} MB are needed")
        return None

    def _replace_if_large(self) -> None:
        if self._worker is not None and self._worker.resident_bytes > self._idle_bytes + _KEPT_BYTES:
            self._stop()

    def _failed(self, failed: Failed) -> Failure:
        if self._limits is None or isinstance(failed.error, VideoSSRError):
            failed.error.add_note(failed.traceback_text)
            raise failed.error
        if isinstance(failed.error, MemoryError):
            return Failure("out_of_memory", f"more than {self._limits.megabytes} MB are needed")
        return Failure("crashed", failed.traceback_text.strip().splitlines()[-1], failed.traceback_text)

    def _started(self) -> _Worker:
        if self._worker is not None:
            return self._worker
        worker = self._start()
        with _death_noticed():
            worker.connection.send((self._path, self._limits))
            worker.connection.send_bytes(self._function)
            answer = worker.connection.recv()
        if isinstance(answer, Failed):  # the function cannot be imported there
            raise answer.error
        self._idle_bytes = worker.resident_bytes  # with all imports
        return worker

    def _start(self) -> _Worker:
        if not self._folder.is_dir():
            raise ConfigError(
                f"{platform.node()} has no folder {self._folder}: the machines of a cluster must share the project's "
                "file system, at the same place"
            )
        with self._starting:
            if self._ended:
                raise RuntimeError("the items are no longer wanted")
            ours, theirs = Pipe()
            with theirs:
                # -P: a file in the current folder must not pass for a module.
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

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.process.kill()
            self._worker.process.wait()
            self._worker.connection.close()
            self._worker = None
