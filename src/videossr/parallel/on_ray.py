"""Items on the machines of a Ray cluster: the same processes under the same limits, minded by an actor of their node.

Items name files, and the nodes read them: they share a file system, and each has this project installed.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from videossr.errors import ConfigError
from videossr.parallel.limits import Limits, Loss
from videossr.parallel.minder import Minder

# Ray reads these while it is imported.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints a stack where a stage is asked to end
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Ray's name for it is of other systems; on every one, 0 keeps a local cluster on loopback.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_DIED = Loss("crashed", "the node or the actor that had it died, twice")


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster at `address`, or else one of this machine alone that ends with this process.

    `workers` processes at a time, or as many as the cluster has processors where it is None or more.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"a Ray cluster needs at least 1 worker, got {self.workers}: set VIDEOSSR_WORKERS to it")


def on_cluster(cluster: Cluster, function: bytes, limits: Limits | None) -> "list[_Hand]":
    """One hand for every process that may work at a time. Raises ConfigError where there is no Ray or no cluster."""
    ray = _joined(cluster)
    processors = int(ray.cluster_resources().get("CPU", 0))
    if processors < 1:
        raise ConfigError("the Ray cluster has no processor: start a node with `ray start --num-cpus`")
    return [_Hand(ray, function, limits) for _ in range(min(cluster.workers or processors, processors))]


class _Hand:
    """An actor, started when needed, and again, wherever there is room, after it or its node has died."""

    def __init__(self, ray: Any, function: bytes, limits: Limits | None) -> None:
        self._ray = ray
        self._start = partial(ray.remote(num_cpus=1)(Minder).remote, function, limits, Path.cwd(), sys.path)
        self._actor: Any = None
        self._ended = False
        self._starting = Lock()

    def run(self, item: bytes) -> bytes | Loss:
        """The result, or why there is none; a death is tried once more."""
        answer = self._answer(item)
        return _DIED if answer is None and (answer := self._answer(item)) is None else answer

    def end(self) -> None:
        """Kill the actor, whose process ends with it, and start no other."""
        with self._starting:
            self._ended = True
            if self._actor is not None:
                self._ray.kill(self._actor)

    def _answer(self, item: bytes) -> bytes | Loss | None:
        """What comes of an item; None where its actor died."""
        said = self._ray.exceptions
        with self._starting:
            if self._ended:
                raise RuntimeError("the items are no longer wanted")
            actor = self._actor = self._actor or self._start()
        try:
            return self._ray.get(actor.run.remote(item))
        except said.RayTaskError as error:
            raise error.cause from None
        except (said.RayActorError, said.ObjectLostError, said.OutOfMemoryError):
            self._actor = None
            return None


def _joined(cluster: Cluster) -> Any:
    """Ray, connected. One cluster serves all that this process does."""
    for name, value in (_QUIET if cluster.address else {**_QUIET, **_LOOPBACK}).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "VIDEOSSR_ENGINE is ray, which is not installed: pip install -e '.[ray]', or set it to processes"
        ) from None
    if not ray.is_initialized():
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        if cluster.address is None:
            _start(ray, cluster.workers, quiet)
        else:
            _connect(ray, cluster.address)
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
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


def _start(ray: Any, workers: int | None, options: dict[str, Any]) -> None:
    # In /tmp: the paths of Ray's sockets must be shorter than a project's path may be.
    folder = tempfile.mkdtemp(prefix="videossr-ray-", dir="/tmp")
    command = [sys.executable, "-m", "videossr.parallel.undertaker", folder]
    undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def leave() -> None:
        ray.shutdown()
        undertaker.communicate()

    atexit.register(leave)
    ray.init(address="local", num_cpus=workers, _temp_dir=folder, **options)
