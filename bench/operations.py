"""Load and faults: queue runs, and kill the server or the worker, lock the database or fill the disk in the middle.

    python -m bench.operations                       20 and more runs, a quarter of an hour; needs the right to mount
    python -m bench.operations --faults server disk --runs 4

`videossr up` starts the real services for a copy of the project on a small disk in memory. Its graph is one stage of
two seconds that notes when it starts and ends, so that what ran can be held against what the server says. `one_run` are
runs of the deployment as it is, which turns away a second run; the other faults meet a deployment that queues them.
Writes `docs/measured/operations.json`, and the table of `docs/operate.md`.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from bench.scale import with_table
from videossr.services.definitions import Ports, prefect_api
from videossr.services.supervisor import find_supervisor
from videossr.storage.atomic import write_json, write_text

ROOT = Path(__file__).parents[1]
OUT = Path("docs/measured/operations.json")
PAGE = Path("docs/operate.md")
DISK_MEGABYTES = 600
HOLD_SECONDS = 30.0  # how long the database is locked and the disk full
STALLED_SECONDS = 120.0  # without a run that ends: the services are stopped and started, as an operator would
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

_STAGE = """\
import fcntl, os, time
run = os.environ["PREFECT__FLOW_RUN_ID"]
def note(what):
    with open("notes.txt", "a") as file:
        file.write(f"{run} {what} {time.time()}\\n")
note("start")
lock = open("stage.py")  # a stage that dies gives its lock back, whatever it could still note
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    note("together")
time.sleep(2)
with open("work.bin", "wb") as file:
    file.write(os.urandom(1_000_000))
note("end")
"""


@dataclass(frozen=True)
class Outcome:
    """What became of the runs of one fault.

    `lost` never ended or are gone; `twice` had the stage start more than once; `untrue` have a state that the notes of
    the stage contradict; `together` started while another one ran. `restarts` counts how often the services had to be
    restarted.
    """

    fault: str
    runs: int
    completed: int
    failed: int
    cancelled: int
    lost: int
    twice: int
    untrue: int
    together: int
    restarts: int
    seconds: float


class Project:
    """A copy of the project with running services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = Ports(*_free_ports(3))
        self.api = prefect_api(self.ports)
        self.session = requests.Session()
        # As Prefect's own client does: a busy server answers 503. A run is created once, whatever is repeated.
        retry = Retry(total=8, backoff_factor=1, status_forcelist=[503], allowed_methods=None)
        self.session.mount("http://", HTTPAdapter(max_retries=retry))

    def up(self) -> None:
        options = [text for name, port in asdict(self.ports).items() for text in (f"--{name}-port", str(port))]
        self._videossr("up", *options)

    def down(self) -> None:
        self._videossr("down")

    def call(self, path: str, body: Mapping[str, Any] | None = None, method: str = "POST") -> Any:
        """One call of Prefect's REST API; raises OSError where the server does not answer."""
        reply = self.session.request(method, f"{self.api}/{path}", json=body, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def queue(self, deployment: str, count: int) -> list[str]:
        """Create runs of a deployment; returns their ids."""
        found = self.call(f"deployments/name/pipeline/{deployment}", method="GET")
        path = f"deployments/{found['id']}/create_flow_run"
        return [self.call(path, {"idempotency_key": uuid.uuid4().hex})["id"] for _ in range(count)]

    def states(self, runs: Sequence[str]) -> dict[str, str]:
        """The state of each run that the server knows."""
        found = self.call("flow_runs/filter", {"flow_runs": {"id": {"any_": list(runs)}}, "limit": 200})
        return {run["id"]: run["state_type"] for run in found}

    def notes(self) -> list[tuple[str, str, float]]:
        """(run, `start`, `together` or `end`, seconds since the epoch) of the stage."""
        path = self.folder / "notes.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(run, what, float(at)) for run, what, at in (line.split() for line in lines if line.count(" ") == 2)]

    def service(self, name: str) -> int:
        """The process id of a service."""
        supervisor = find_supervisor(self.folder)
        children = supervisor.children() if supervisor else []
        return next(each.pid for each in children if each.environ().get("SUPERVISOR_PROCESS_NAME") == name)

    def _videossr(self, *arguments: str) -> None:
        program = "from videossr.cli import main; main()"
        dropped = ("PREFECT_HOME", "PREFECT_API_URL", "DVC_ROOT")
        variables = {name: value for name, value in os.environ.items() if name not in dropped}
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(self.folder)])
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"videossr {arguments[0]} failed: {done.stderr.strip()}")


def _free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def kill_server(project: Project) -> None:
    os.kill(project.service("prefect"), signal.SIGKILL)


def kill_worker(project: Project) -> None:
    os.kill(project.service("worker-gpu"), signal.SIGKILL)


def lock_database(project: Project) -> None:
    """Hold the only write lock of Prefect's database."""
    database = sqlite3.connect(project.folder / ".prefect/prefect.db", timeout=60, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    time.sleep(HOLD_SECONDS)
    database.execute("ROLLBACK")
    database.close()


def fill_disk(project: Project) -> None:
    filler = project.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    time.sleep(HOLD_SECONDS)
    filler.unlink()


FAULTS: dict[str, tuple[str, Callable[[Project], None] | None]] = {
    "one_run": ("weekly", None),
    "server": ("queued", kill_server),
    "worker": ("queued", kill_worker),
    "database": ("queued", lock_database),
    "disk": ("queued", fill_disk),
}
_LABELS = {
    "one_run": "none, the deployment as it is: a second run is turned away",
    "server": "the server is killed (`kill -9`)",
    "worker": "the worker is killed (`kill -9`)",
    "database": "the database is locked for 30 s",
    "disk": "the disk is full for 30 s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--runs", type=int, default=20, help="runs that are queued for each fault")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stop the services and unmount the disk
    with small_disk() as disk:
        for outcome in measure(make_project(disk / "project"), arguments.faults, arguments.runs):
            record(outcome)
            print(outcome, flush=True)
    print(f"written to {OUT} and {PAGE}")


def record(outcome: Outcome) -> None:
    """Write the row of one fault, in place of an older one, to the file and to the page."""
    rows = {row["fault"]: row for row in (json.loads(OUT.read_text()) if OUT.exists() else [])}
    rows[outcome.fault] = asdict(outcome)
    ordered = [rows[name] for name in FAULTS if name in rows]
    write_json(OUT, ordered, indent=2)
    write_text(PAGE, with_rows(PAGE.read_text(encoding="utf-8"), ordered))


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk of its own, which can be filled without harm."""
    with tempfile.TemporaryDirectory() as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "none", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"a small disk is needed to fill it, mount refused ({done.stderr.strip()}): run as root")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def make_project(folder: Path) -> Path:
    """The project with its flows and deployments, and a graph of one stage that notes when it runs."""
    folder.mkdir(parents=True)
    for name in ("flows", "sources", ".dvc"):
        ignored = shutil.ignore_patterns("tmp", "cache", "config.local", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    stage = {"cmd": "python stage.py", "always_changed": True, "outs": [{"work.bin": {"cache": False}}]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"work": stage}}))
    (folder / "stage.py").write_text(_STAGE)
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (weekly,) = (each for each in deployments["deployments"] if each["name"] == "weekly")
    queued = {**weekly, "name": "queued", "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"}}
    deployments["deployments"].append(queued)
    (folder / "prefect.yaml").write_text(yaml.safe_dump(deployments))
    return folder


def measure(folder: Path, faults: Sequence[str], runs: int) -> Iterator[Outcome]:
    """Start the services of the project in `folder`, and meet one fault after the other."""
    project = Project(folder)
    try:
        project.up()
        for fault in faults:
            yield _measure(project, fault, runs)
    finally:
        project.down()


def _measure(project: Project, fault: str, runs: int) -> Outcome:
    deployment, harm = FAULTS[fault]
    started = time.monotonic()
    queued = project.queue(deployment, runs)
    if harm is not None:
        _wait(lambda: sum(what == "start" for run, what, _ in project.notes() if run in queued) > runs // 4, 600)
        harm(project)
    restarts = _wait_until_ended(project, queued)
    return judge(fault, queued, project.states(queued), project.notes(), restarts, time.monotonic() - started)


def _wait_until_ended(project: Project, runs: Sequence[str]) -> int:
    """Wait until every run has ended; returns how often the services had to be restarted, at most twice."""
    restarts, ended, changed = 0, -1, time.monotonic()
    while ended < len(runs):
        try:
            now = sum(state in ENDED for state in project.states(runs).values())
        except OSError:
            now = ended
        if now != ended:
            ended, changed = now, time.monotonic()
        elif time.monotonic() - changed > STALLED_SECONDS:
            if restarts == 2:
                break
            project.down()
            project.up()
            restarts, changed = restarts + 1, time.monotonic()
        time.sleep(1)
    return restarts


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"no run started within {seconds:.0f} s: read .services/ of the project")
        time.sleep(0.2)


def judge(
    fault: str,
    runs: Sequence[str],
    states: Mapping[str, str],
    notes: Sequence[tuple[str, str, float]],
    restarts: int,
    seconds: float,
) -> Outcome:
    """Hold the states that the server gives against what the stage noted."""
    of_runs = [note for note in notes if note[0] in runs]
    starts, ends = (Counter(run for run, what, _ in of_runs if what == kind) for kind in ("start", "end"))
    counts = Counter(states.get(run, "LOST") for run in runs)
    ended = {run for run in runs if states.get(run) in ENDED}
    return Outcome(
        fault=fault,
        runs=len(runs),
        completed=counts["COMPLETED"],
        failed=counts["FAILED"] + counts["CRASHED"],
        cancelled=counts["CANCELLED"],
        lost=len(runs) - len(ended),
        # A stage that failed is retried once by the pipeline; only a second finished one is work done twice.
        twice=sum(count > 1 for count in ends.values()),
        untrue=sum((states[run] == "COMPLETED") != (ends[run] > 0) for run in ended),
        together=sum(what == "together" for _, what, _ in of_runs),
        restarts=restarts,
        seconds=round(seconds, 1),
    )


def with_rows(page: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with its table of faults replaced."""
    names = ("runs", "completed", "failed", "cancelled", "lost", "twice", "untrue", "together", "restarts", "seconds")
    lines = ["| fault | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [f"{row[name]:.0f}" if name == "seconds" else str(row[name]) for name in names]
        lines.append(f"| {_LABELS[row['fault']]} | {' | '.join(cells)} |")
    return with_table(page, "faults", "\n".join(lines), "bench.operations", PAGE)


if __name__ == "__main__":
    main()
