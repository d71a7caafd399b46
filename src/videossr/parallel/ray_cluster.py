"""Items on the machines of a Ray cluster: the same processes under the same limits, minded where they run.

An item is a task of Ray's, which finds it a processor and, where a machine dies, another. What minds the item's
process stays in Ray's worker from task to task. Items name files, and the nodes read them: they share a file system,
and each has this project installed.
"""

import atexit
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

from videossr.errors import ConfigError
from videossr.parallel.limits import Failure, Limits
from videossr.parallel.supervisor import Supervisor

# Ray reads these while it is imported.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints a stack where a stage is asked to end
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Ray's name for it is of other systems; on every one, 0 keeps a local cluster on loopback. Its token is named as well,
# or Ray would write one into the person's home.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
_LOOK_SECONDS = 0.2  # between two looks at whether a result is still wanted
_DIED = Failure("crashed", "the machine that had it, or its Ray worker, died, twice")


@dataclass(frozen=True)
class RayCluster:
    """The Ray cluster at `address`, or else one of this machine alone that ends with this process.

    `workers` processes at a time, or as many as the cluster has processors where it is None or more.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"a Ray cluster needs at least 1 worker, got {self.workers}: set VIDEOSSR_WORKERS to it")


@dataclass(frozen=True)
class _Job:
    """What a map sends to the nodes once; the rest as `Supervisor` takes it."""

    name: str
    function: bytes
    limits: Limits | None
    folder: Path
    path: tuple[str, ...]


def ray_executors(cluster: RayCluster, function: bytes, limits: Limits | None) -> "list[_Executor]":
    """One executor for every process that may work at a time. Raises ConfigError where there is no Ray or no cluster."""
    ray = _joined(cluster)
    processors = int(ray.cluster_resources().get("CPU", 0))
    if processors < 1:
        raise ConfigError("the Ray cluster has no processor: start a node with `ray start --num-cpus`")
    job = ray.put(_Job(uuid4().hex, function, limits, Path.cwd(), tuple(sys.path)))
    task = ray.remote(num_cpus=1, max_retries=1)(_work)
    return [_Executor(ray, partial(task.remote, job)) for _ in range(min(cluster.workers or processors, processors))]


class _Executor:
    """One item at a time, wherever on the cluster.

    What is no longer wanted is left to itself, at most until its time is up, and not cancelled: a cancellation that
    meets the end of its task kills the driver without a word (ray-project/ray, pull request 54798; seen with 2.60).
    """

    def __init__(self, ray: Any, submit: Callable[[bytes], Any]) -> None:
        self._ray = ray
        self._submit = submit
        self._ended = Event()

    def run(self, item: bytes) -> bytes | Failure:
        """The result, or why there is none; a death is tried once more, by Ray."""
        said = self._ray.exceptions
        doing = self._submit(item)
        while not self._ray.wait([doing], timeout=_LOOK_SECONDS)[0]:
            if self._ended.is_set():
                raise RuntimeError("the items are no longer wanted")
        try:
            return self._ray.get(doing)
        except said.RayTaskError as error:
            raise error.cause from None
        except (said.WorkerCrashedError, said.NodeDiedError, said.ObjectLostError, said.OutOfMemoryError):
            return _DIED

    def end(self) -> None:
        """Wait no longer for what is being done."""
        self._ended.set()


_minding: dict[str, Supervisor] = {}  # in a worker of Ray's: by the name of the job, at most one


def _work(job: _Job, item: bytes) -> bytes | Failure:
    """On a node, in a worker of Ray's, which does one item at a time."""
    if job.name not in _minding:
        for minder in _minding.values():
            minder.end()
        _minding.clear()
        _minding[job.name] = Supervisor(job.function, job.limits, job.folder, job.path)
    return _minding[job.name].run(item)


def _joined(cluster: RayCluster) -> Any:
    """Ray, connected. One cluster serves all that this process does."""
    alone = {} if cluster.address else {**_LOOPBACK, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in {**_QUIET, **alone}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "VIDEOSSR_ENGINE is ray, which is not installed: pip install -e '.[ray]', or set it to processes"
        ) from None
    if not ray.is_initialized():
        if cluster.address is None:
            _start(ray, cluster.workers)
        else:
            _connect(ray, cluster.address)
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        _knock(address)
        ray.init(address, **_SILENT)
    except OSError:
        raise ConfigError(
            f"no Ray cluster answers at RAY_ADDRESS {address}: start one there (ray start --head), or unset it for one "
            "of this machine alone"
        ) from None
    atexit.register(ray.shutdown)


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray would take minutes to say so."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():  # other addresses, such as auto, are names of Ray's own
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _start(ray: Any, workers: int | None) -> None:
    # In /tmp: the paths of Ray's sockets must be shorter than a project's path may be.
    folder = tempfile.mkdtemp(prefix="videossr-ray-", dir="/tmp")
    command = [sys.executable, "-P", "-m", "videossr.parallel.undertaker", folder]
    undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def leave() -> None:
        ray.shutdown()
        undertaker.communicate()

    atexit.register(leave)
    ray.init("local", num_cpus=workers, include_dashboard=False, _temp_dir=folder, **_SILENT)
