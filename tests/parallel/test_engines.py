"""Three engines write the same bytes: this process, processes of this machine, a Ray cluster. Failures on Ray."""

import hashlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from tests.support.ingesting import ingest_source
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.dataset.samples import write_samples
from videossr.errors import ConfigError
from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store
from videossr.ingest.manifest import write_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.synthetic import SyntheticParams, make_videos
from videossr.parallel import Failure, Limits, RayCluster, Workers, parallel_map
from videossr.parallel.supervisor import Supervisor
from videossr.records import FrameTimes
from videossr.workspace import selected_workers

LIMITS = Limits(seconds=2.0, megabytes=100)
VIDEOS = SyntheticParams(num_videos=5, min_seconds=2, max_seconds=3, size_pixels=64, fps=24)


def skip_without_ray() -> None:
    if find_spec("ray") is None:  # not imported here: Ray reads the environment when it is imported
        pytest.skip("the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A cluster of this machine on loopback, started by `ray start` and stopped with its process group."""
    skip_without_ray()
    address = f"127.0.0.1:{free_port()}"
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as folder:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # In spite of its name, the setting applies to every system: 0 keeps the cluster on loopback.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
        command += ["--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}"]
        command += ["--include-dashboard=false", "--disable-usage-stats"]
        # In /tmp, because the paths of Ray's sockets must be short.
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            assert becomes_true(lambda: listens(address)), f"no cluster at {address}"
            yield RayCluster(address, workers=2)
        finally:
            if "ray" in sys.modules:
                sys.modules["ray"].shutdown()
            # SIGTERM would first drain the node for half a minute.
            os.killpg(head.pid, signal.SIGKILL)
            head.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "videos"
    make_videos(VIDEOS, 3, folder, workers=0)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def run_data_stages(source: Path, out: Path, workers: Workers) -> None:
    """Run all stages that use `parallel_map`."""
    make_videos(VIDEOS, 4, out / "made", workers)
    inventory = ingest_source(IngestParams(str(source)), out / "none", workers, min_frames=24)
    write_manifest(out / "manifest.parquet", inventory.videos)
    write_store(
        inventory.videos, out / "frames", FramesParams(num_frames=24, max_pixels=4096, min_pixels=1024), workers
    )
    videos = [FrameTimes(f"{number:016x}", tuple(np.linspace(1, 9, 48))) for number in range(300)]
    params = PretextParams(train=TrainSet(10_000, {"jigsaw/6": 1.0}))
    write_samples(out / "samples.parquet", build_train(params, videos, workers))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_the_three_engines_write_the_same_bytes(source: Path, tmp_path: Path, cluster: RayCluster) -> None:
    engines: dict[str, Workers] = {"here": 0, "processes": 2, "ray": cluster}
    for name, workers in engines.items():
        run_data_stages(source, tmp_path / name, workers)
    here = digests(tmp_path / "here")
    assert {"manifest.parquet", "samples.parquet", "frames/index.parquet", "frames/shard-00000.tar"} < set(here)
    assert digests(tmp_path / "processes") == here
    assert digests(tmp_path / "ray") == here


def _square_or_fail(number: int) -> int:
    if number == 3:
        os._exit(9)
    if number == 4:
        time.sleep(600)
    if number == 5:
        return len([np.ones(2**17) for _ in range(10_000) if not time.sleep(0.002)])
    if number == 6:
        raise KeyError("unforeseen")
    return number * number


@pytest.mark.slow
def test_on_ray_a_crash_a_hang_and_a_full_memory_fail_one_item_each(cluster: RayCluster) -> None:
    results = list(parallel_map(_square_or_fail, range(10), cluster, LIMITS, lambda number, failure: failure))
    assert [failure.reason for failure in results[3:7]] == ["crashed", "timeout", "out_of_memory", "crashed"]
    assert results[:3] + results[7:] == [0, 1, 4, 49, 64, 81]


def _kill_ray_worker(path: Path) -> str:
    """Kill the parent of the process that runs the item."""
    with path.open("a") as file:
        file.write("tried\n")
    if path.name == "always" or path.read_text().count("tried") == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return "alive"


@pytest.mark.slow
def test_an_item_whose_ray_worker_dies_is_tried_twice(cluster: RayCluster, tmp_path: Path) -> None:
    items = [tmp_path / name for name in ("once", "always", "once_more")]
    results = list(parallel_map(_kill_ray_worker, items, cluster, LIMITS, lambda item, failure: failure.reason))
    assert results == ["alive", "crashed", "alive"]
    assert (tmp_path / "always").read_text().count("tried") == 2


def _sleep(number: int) -> int:
    time.sleep(0.5)
    return number


@pytest.mark.slow
def test_the_items_of_a_machine_that_dies_run_elsewhere() -> None:
    skip_without_ray()
    program = (
        "from ray.cluster_utils import Cluster as Machines\n"
        "from tests.parallel.test_engines import *\n"
        "from tests.parallel.test_engines import _sleep\n"
        "machines = Machines(True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = machines.add_node(num_cpus=1)\n"
        "cluster = RayCluster(machines.address)\n"
        "results = parallel_map(_sleep, range(10), cluster, LIMITS, lambda _, failure: failure)\n"
        "began = [next(results), next(results)]\n"
        "machines.remove_node(second, allow_graceful=False)\n"
        "assert began + list(results) == list(range(10))\n"
        "sys.modules['ray'].shutdown()\n"
        "machines.shutdown()\n"
        "print('all ten')"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the paths of Ray's sockets must be short
        env = {**os.environ, "RAY_TMPDIR": folder, "HOME": folder}
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True)
    assert "all ten" in done.stdout, done.stderr


def _raise_config_error(number: int) -> int:
    raise ConfigError("a user's mistake")


@pytest.mark.slow
def test_a_users_mistake_on_ray_is_raised_here(cluster: RayCluster) -> None:
    with pytest.raises(ConfigError, match="a user's mistake"):
        list(parallel_map(_raise_config_error, [1, 2], cluster, LIMITS, lambda item, failure: 0))


@pytest.mark.slow
def test_a_worker_on_ray_works_in_the_folder_of_the_driver(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(parallel_map(os.path.abspath, ["file"], cluster)) == [str(tmp_path / "file")]


def exit_early_often(address: str) -> None:
    cluster, squares = RayCluster(address, workers=2), [0, 1, 4, 49, 64, 81]
    for number in range(80):
        wanted = 1 + number % len(squares)
        results = parallel_map(_square_or_fail, [0, 1, 2, 7, 8, 9], cluster, LIMITS, lambda item, failure: failure)
        assert [next(results) for _ in range(wanted)] == squares[:wanted]
        results.close()
    results = parallel_map(_square_or_fail, [0, 4, 4], cluster, Limits(), lambda item, failure: failure)
    began = time.monotonic()
    assert next(results) == 0
    results.close()
    assert time.monotonic() - began < 20, "waited for items that sleep for minutes"


@pytest.mark.slow
def test_an_early_exit_on_ray_does_not_wait_for_running_items(cluster: RayCluster) -> None:
    """In a process of its own, because Ray killed the driver when a cancellation met the end of a task."""
    program = f"from tests.parallel.test_engines import exit_early_often; exit_early_often({cluster.address!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def _write_pid_and_sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def sleep_on_ray(address: str, folder: str) -> None:
    list(parallel_map(_write_pid_and_sleep, [Path(folder)] * 2, RayCluster(address, workers=2)))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_processes_of_a_driver_that_ends_are_stopped_on_the_cluster(
    cluster: RayCluster, tmp_path: Path, ending: signal.Signals, request: pytest.FixtureRequest
) -> None:
    program = (
        f"from tests.parallel.test_engines import sleep_on_ray; sleep_on_ray({cluster.address!r}, {str(tmp_path)!r})"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    request.addfinalizer(driver.kill)
    assert becomes_true(lambda: len(list(tmp_path.iterdir())) == 2)
    driver.send_signal(ending)
    output = driver.communicate(timeout=60)[0].decode()
    assert output == "" or output.rstrip().endswith("KeyboardInterrupt")
    assert becomes_true(lambda: not any(Path("/proc", path.name).exists() for path in tmp_path.iterdir()))


def becomes_true(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_missing_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install -e '\.\[ray\]', or set it to processes"):
        list(parallel_map(abs, [1], RayCluster("127.0.0.1:9")))


@pytest.mark.slow
def test_a_missing_cluster_is_one_sentence() -> None:
    skip_without_ray()
    program = (
        "from videossr.parallel import RayCluster, parallel_map; from videossr.errors import ConfigError\n"
        "try: list(parallel_map(abs, [1], RayCluster('127.0.0.1:9')))\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "no Ray cluster answers at RAY_ADDRESS 127.0.0.1:9" in done.stdout


def test_a_machine_without_the_projects_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no folder .*: the machines of a cluster must share"):
        Supervisor(pickle.dumps(abs), None, tmp_path / "elsewhere", sys.path).run(pickle.dumps(-1))


def test_the_environment_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIDEOSSR_ENGINE", "VIDEOSSR_WORKERS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert selected_workers() == os.cpu_count()
    monkeypatch.setenv("VIDEOSSR_WORKERS", "3")
    assert selected_workers() == 3
    monkeypatch.setenv("VIDEOSSR_ENGINE", "here")
    assert selected_workers() == 0
    monkeypatch.setenv("VIDEOSSR_ENGINE", "ray")
    with pytest.raises(ConfigError, match=r"needs the address of a Ray cluster in RAY_ADDRESS: start a cluster"):
        selected_workers()
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert selected_workers() == RayCluster("head:6379", 3)
    monkeypatch.delenv("VIDEOSSR_WORKERS")
    assert selected_workers() == RayCluster("head:6379")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VIDEOSSR_ENGINE", "dask", "must be processes, here or ray, got 'dask'"),
        ("VIDEOSSR_WORKERS", "many", "must be a number of processes, got 'many'"),
    ],
)
def test_an_unknown_engine_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        selected_workers()


def test_a_failure_is_handed_to_its_handler_or_raised_with_its_item() -> None:
    assert list(parallel_map(_square_or_fail, [3], 1, LIMITS, lambda item, failure: failure)) == [
        Failure("crashed", "the process that read it died, twice")
    ]
