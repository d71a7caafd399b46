"""Three engines, the same bytes: this process, processes of this machine, a Ray cluster; what is lost on Ray, and what
stays behind."""

import hashlib
import os
import pickle
import signal
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
from videossr.workspace import selected_workers as workers_asked_for

LIMITS = Limits(seconds=2.0, megabytes=100)
VIDEOS = SyntheticParams(num_videos=5, min_seconds=2, max_seconds=3, size_pixels=64, fps=24)


def skip_without_ray() -> None:
    if find_spec("ray") is None:  # looked for, not imported: it reads the environment while it is
        pytest.skip("the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    skip_without_ray()
    yield RayCluster(workers=2)
    sys.modules["ray"].shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "videos"
    make_videos(VIDEOS, 3, folder, workers=0)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def take_in(source: Path, out: Path, workers: Workers) -> None:
    """Everything that goes through the seam."""
    make_videos(VIDEOS, 4, out / "made", workers)
    inventory = ingest_source(IngestParams(str(source)), out / "none", workers, min_frames=24)
    write_manifest(out / "manifest.parquet", inventory.videos)
    write_store(
        inventory.videos, out / "frames", FramesParams(num_frames=24, max_pixels=4096, min_pixels=1024), workers
    )
    footage = [FrameTimes(f"{number:016x}", tuple(np.linspace(1, 9, 48))) for number in range(300)]
    params = PretextParams(train=TrainSet(10_000, {"jigsaw/6": 1.0}))
    write_samples(out / "samples.parquet", build_train(params, footage, workers))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_the_three_engines_write_the_same_bytes(source: Path, tmp_path: Path, cluster: RayCluster) -> None:
    engines: dict[str, Workers] = {"here": 0, "processes": 2, "ray": cluster}
    for name, workers in engines.items():
        take_in(source, tmp_path / name, workers)
    here = digests(tmp_path / "here")
    assert {"manifest.parquet", "samples.parquet", "frames/index.parquet", "frames/shard-00000.tar"} < set(here)
    assert digests(tmp_path / "processes") == here
    assert digests(tmp_path / "ray") == here


def _square_or_worse(number: int) -> int:
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
def test_on_ray_a_crash_a_hang_and_a_glutton_cost_one_item_each(cluster: RayCluster) -> None:
    results = list(parallel_map(_square_or_worse, range(10), cluster, LIMITS, lambda number, failure: failure))
    assert [failure.reason for failure in results[3:7]] == ["crashed", "timeout", "out_of_memory", "crashed"]
    assert results[:3] + results[7:] == [0, 1, 4, 49, 64, 81]


def _kill_rays_worker(path: Path) -> str:
    """The parent of the process that works."""
    with path.open("a") as file:
        file.write("tried\n")
    if path.name == "always" or path.read_text().count("tried") == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return "alive"


@pytest.mark.slow
def test_a_worker_of_rays_that_dies_costs_its_item_a_second_try_and_then_the_item(
    cluster: RayCluster, tmp_path: Path
) -> None:
    items = [tmp_path / name for name in ("once", "always", "once_more")]
    results = list(parallel_map(_kill_rays_worker, items, cluster, LIMITS, lambda item, failure: failure.reason))
    assert results == ["alive", "crashed", "alive"]
    assert (tmp_path / "always").read_text().count("tried") == 2


def _nap(number: int) -> int:
    time.sleep(0.5)
    return number


@pytest.mark.slow
def test_a_machine_that_dies_costs_no_item() -> None:
    skip_without_ray()
    program = (
        "from ray.cluster_utils import Cluster as Machines\n"
        "from tests.parallel.test_engines import *\n"
        "from tests.parallel.test_engines import _nap\n"
        "machines = Machines(True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = machines.add_node(num_cpus=1)\n"
        "results = parallel_map(_nap, range(10), RayCluster(address=machines.address), LIMITS, lambda _, lost: lost)\n"
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


def _refuse(number: int) -> int:
    raise ConfigError("a person's mistake")


@pytest.mark.slow
def test_a_persons_mistake_on_ray_is_raised_here(cluster: RayCluster) -> None:
    with pytest.raises(ConfigError, match="a person's mistake"):
        list(parallel_map(_refuse, [1, 2], cluster, LIMITS, lambda item, failure: 0))


@pytest.mark.slow
def test_a_cluster_of_this_machine_works_in_this_folder_and_listens_on_loopback_alone(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(parallel_map(os.path.abspath, ["file"], cluster)) == [str(tmp_path / "file")]
    assert [node["NodeManagerAddress"] for node in sys.modules["ray"].nodes()] == ["127.0.0.1"]


def leave_early_often() -> None:
    squares = [0, 1, 4, 49, 64, 81]
    for number in range(80):
        wanted = 1 + number % len(squares)
        results = parallel_map(
            _square_or_worse, [0, 1, 2, 7, 8, 9], RayCluster(workers=2), LIMITS, lambda item, failure: failure
        )
        assert [next(results) for _ in range(wanted)] == squares[:wanted]
        results.close()
    results = parallel_map(_square_or_worse, [0, 4, 4], RayCluster(workers=2), Limits(), lambda item, failure: failure)
    began = time.monotonic()
    assert next(results) == 0
    results.close()
    assert time.monotonic() - began < 20, "waited for items that sleep for minutes"


@pytest.mark.slow
def test_whoever_leaves_early_waits_for_nothing_and_lives() -> None:
    """In a process of its own: where an end met the end of a task, Ray took the driver along."""
    skip_without_ray()
    command = [sys.executable, "-c", "from tests.parallel.test_engines import leave_early_often; leave_early_often()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def _tell_who_and_wait(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def run_two_on_ray(folder: str) -> None:
    list(parallel_map(_tell_who_and_wait, [Path(folder)] * 2, RayCluster(workers=2)))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_printed_and_nothing_stays_however_it_ends(
    tmp_path: Path, ending: signal.Signals, request: pytest.FixtureRequest
) -> None:
    skip_without_ray()
    home, told = tmp_path / "home", tmp_path / "told"
    home.mkdir(), told.mkdir()
    before = set(Path("/tmp").glob("videossr-ray-*"))
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from tests.parallel.test_engines import run_two_on_ray; run_two_on_ray({str(told)!r})",
        ],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    request.addfinalizer(driver.kill)
    assert comes_true(lambda: len(list(told.iterdir())) == 2)
    (folder,) = set(Path("/tmp").glob("videossr-ray-*")) - before
    assert holders(folder)
    driver.send_signal(ending)
    said = driver.communicate(timeout=60)[0].decode()
    assert said == "" or said.rstrip().endswith("KeyboardInterrupt")
    assert comes_true(lambda: not holders(folder) and not folder.exists())
    assert comes_true(lambda: not any(Path("/proc", path.name).exists() for path in told.iterdir()))
    assert not list(home.iterdir())


def holders(folder: Path) -> set[str]:
    """Processes that hold a file in `folder`."""
    found = subprocess.run(
        f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F {folder}", shell=True, capture_output=True, text=True
    )
    return set(found.stdout.splitlines())


def comes_true(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install -e '\.\[ray\]', or set it to processes"):
        list(parallel_map(abs, [1], RayCluster()))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_sentence() -> None:
    skip_without_ray()
    program = (
        "from videossr.parallel import RayCluster, parallel_map; from videossr.errors import ConfigError\n"
        "try: list(mapped(abs, [1], Cluster(address='127.0.0.1:9')))\n"
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
    assert workers_asked_for() == os.cpu_count()
    monkeypatch.setenv("VIDEOSSR_WORKERS", "3")
    assert workers_asked_for() == 3
    monkeypatch.setenv("VIDEOSSR_ENGINE", "here")
    assert workers_asked_for() == 0
    monkeypatch.setenv("VIDEOSSR_ENGINE", "ray")
    assert workers_asked_for() == RayCluster(3, None)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert workers_asked_for() == RayCluster(3, "head:6379")
    monkeypatch.delenv("VIDEOSSR_WORKERS")
    assert workers_asked_for() == RayCluster(None, "head:6379")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VIDEOSSR_ENGINE", "dask", "must be processes, here or ray, got 'dask'"),
        ("VIDEOSSR_WORKERS", "many", "must be a number of processes, got 'many'"),
    ],
)
def test_an_engine_that_there_is_not_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        workers_asked_for()


def test_a_loss_names_its_item_where_no_one_takes_it() -> None:
    assert list(parallel_map(_square_or_worse, [3], 1, LIMITS, lambda item, failure: failure)) == [
        Failure("crashed", "the process that read it died, twice")
    ]
