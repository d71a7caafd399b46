"""Run items on the machines of a Ray cluster, in the same supervised processes with the same limits.

An item is a Ray task: Ray assigns a processor to it and, when a machine dies, another one. The supervisor of the item's
process stays in the Ray worker from task to task. Items name files, which the nodes read, so the nodes share a file
system, and each has this project installed.
"""

import atexit
import os
import socket
import sys
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

# Ray reads these when it is imported.
_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints a stack when a stage gets SIGTERM
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_INIT_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
_POLL_SECONDS = 0.2  # between two checks whether a result is still wanted
_CRASHED_TWICE = Failure("crashed", "its machine or its Ray worker died, twice")


@dataclass(frozen=True)
class RayCluster:
    """The Ray cluster at `address`, such as `127.0.0.1:6379`.

    `workers` is the number of processes at a time; None, or more than the cluster has processors, means one for each
    processor. Raises ConfigError below 1.
    """

    address: str
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"a Ray cluster needs at least 1 worker, got {self.workers}: set VIDEOSSR_WORKERS to it")


@dataclass(frozen=True)
class _Job:
    """What one map sends to the nodes, once: a name, and the arguments of `Supervisor`."""

    name: str
    function: bytes
    limits: Limits | None
    folder: Path
    path: tuple[str, ...]


def ray_executors(cluster: RayCluster, function: bytes, limits: Limits | None) -> "list[RayExecutor]":
    """One executor for each process that may work at a time. Raises ConfigError where Ray or the cluster is missing."""
    ray = _connect(cluster.address)
    processors = int(ray.cluster_resources().get("CPU", 0))
    if processors < 1:
        raise ConfigError("the Ray cluster has no processor: start a node with `ray start --num-cpus`")
    job = ray.put(_Job(uuid4().hex, function, limits, Path.cwd(), tuple(sys.path)))
    task = ray.remote(num_cpus=1, max_retries=1)(_run_on_node)
    return [RayExecutor(ray, partial(task.remote, job)) for _ in range(min(cluster.workers or processors, processors))]


class RayExecutor:
    """Runs one item at a time, anywhere on the cluster.

    After `stop`, a running item is not cancelled and ends by its limits: a cancellation at the moment when
    its task ends kills the driver without a message (ray-project/ray, pull request 54798; seen with 2.60).
    """

    def __init__(self, ray: Any, submit: Callable[[bytes], Any]) -> None:
        self._ray = ray
        self._submit = submit
        self._stop_requested = Event()

    def run(self, item: bytes) -> bytes | Failure:
        """Return the pickled result, or a Failure. Ray tries an item a second time when its machine dies."""
        errors = self._ray.exceptions
        task = self._submit(item)
        while not self._ray.wait([task], timeout=_POLL_SECONDS)[0]:
            if self._stop_requested.is_set():
                raise RuntimeError("this executor was stopped")
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError):
            return _CRASHED_TWICE

    def stop(self) -> None:
        """Stop waiting for the running item."""
        self._stop_requested.set()


_supervisors: dict[str, Supervisor] = {}  # in a Ray worker: the supervisor of the present job, by the job's name


def _run_on_node(job: _Job, item: bytes) -> bytes | Failure:
    """The Ray task. A Ray worker runs one at a time."""
    if job.name not in _supervisors:
        for supervisor in _supervisors.values():
            supervisor.stop()
        _supervisors.clear()
        _supervisors[job.name] = Supervisor(job.function, job.limits, job.folder, job.path)
    return _supervisors[job.name].run(item)


def _connect(address: str) -> Any:
    """The module `ray`, connected. All maps of this process share one connection."""
    for name, value in _RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "VIDEOSSR_ENGINE is ray, which is not installed: pip install -e '.[ray]', or set it to processes"
        ) from None
    if ray.is_initialized():
        return ray
    try:
        _require_listening(address)
        ray.init(address, **_INIT_OPTIONS)
    except OSError:
        raise ConfigError(
            f"no Ray cluster answers at RAY_ADDRESS {address}: start one there (ray start --head), or set "
            "VIDEOSSR_ENGINE to processes"
        ) from None
    atexit.register(ray.shutdown)
    return ray


def _require_listening(address: str) -> None:
    """Raise OSError where nothing listens at `address`; Ray would wait for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():  # other addresses, such as `auto`, are resolved by Ray
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
