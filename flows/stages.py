"""The stages of `dvc.yaml`: their order, running one through DVC as a process, and stopping all of them."""

import asyncio
import codecs
import os
import signal
import subprocess
import sys
import threading
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from videossr.terminal import printable

UP_TO_DATE_PHRASES = ("didn't change, skipping", "is cached - skipping run")
# Lines for users of DVC or transformers that do not apply to this pipeline.
HIDDEN_PHRASES = (
    "Use `dvc push`",
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "git add",
    "To enable auto staging",
    "dvc config core.autostage",
    "> python -m",
    "Data and pipelines are up to date",
    # transformers, about files that it loads or writes quickly
    "Loading weights",
    "The tokenizer has new PAD/BOS/EOS tokens",
    "Writing model shards",
)
PROGRESS_SECONDS = 20.0  # without a terminal, a progress bar is logged once in this time
TERMINATE_SECONDS = 10.0  # from SIGTERM to SIGKILL
STOPPED_MESSAGE = "stopped by a signal: finished stages are kept; run the same command to continue"

# Module state, because stages run in threads of Prefect: process groups of running stages, and whether a signal has
# asked to stop.
_running_groups: set[int] = set()
_stop_requested = False
# DVC's locks are for processes: two threads of this one must not ask at once.
_dvc_in_this_process = threading.Lock()


@dataclass(frozen=True)
class StageResult:
    """The exit code of `dvc repro` for one stage, and whether DVC found the stage up to date."""

    exit_code: int
    is_up_to_date: bool


def read_dependencies(project: Path) -> dict[str, list[str]]:
    """Stage -> the stages that it depends on, in an order to run them; DVC itself reads `dvc.yaml`."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        dependencies = repo.index.graph  # an edge leads from a stage to one that it depends on
        order = [stage for stage in reversed(list(nx.topological_sort(dependencies))) if not stage.is_data_source]
        return {
            stage.addressing: sorted(
                other.addressing for other in dependencies.successors(stage) if not other.is_data_source
            )
            for stage in order
        }


def read_always_run(project: Path) -> set[str]:
    """The stages marked `always_changed`: they run each time, to detect changes outside the graph."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        return {stage.addressing for stage in repo.index.stages if stage.always_changed}


def python_environment() -> dict[str, str]:
    """The environment in which `python` is this interpreter: the stages' commands in dvc.yaml call it by that name."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


def is_up_to_date(project: Path, stage: str) -> bool:
    """Whether `dvc repro` would skip a stage. DVC itself answers, in this process, which takes a fraction of a second.

    False as well where another DVC process holds the lock: `dvc repro` then waits for it.
    """
    from dvc.lock import LockError
    from dvc.repo import Repo

    with _dvc_in_this_process, Repo(str(project)) as repo:
        try:
            with repo.lock:
                return not repo.stage.get_target(stage).changed()
        except LockError:
            return False


def is_everything_up_to_date(project: Path, environment: Mapping[str, str]) -> bool:
    """Whether no stage would run but those that always do; these are run, because the others depend on what they find.

    False as well where one of them fails: the run that follows shows why.
    """
    always_run = read_always_run(project)
    others = [stage for stage in read_dependencies(project) if stage not in always_run]
    if not all(is_up_to_date(project, stage) for stage in others):
        return False
    if not always_run:
        return True
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *sorted(always_run)]
    done = subprocess.run(command, cwd=project, env=dict(environment), capture_output=True, check=False)
    return done.returncode == 0 and all(is_up_to_date(project, stage) for stage in others)


async def run_dvc_repro(
    stage: str, force: bool, environment: Mapping[str, str], log: Callable[[str], None]
) -> StageResult:
    """Run `dvc repro` for one stage in a process group of its own; its output goes to `log` line by line.

    On early exit (a timeout, a cancelled flow) the whole group is killed.
    """
    # --wait-for-lock comes before the subcommand: without it, parallel stages fail on each other's locks.
    command = [
        sys.executable,
        "-m",
        "dvc",
        "--wait-for-lock",
        "repro",
        "--single-item",
        *(["-f"] if force else []),
        stage,
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, env=dict(environment), start_new_session=True
    )
    _running_groups.add(process.pid)
    is_up_to_date = False
    try:
        async for line in _read_lines(process):
            is_up_to_date |= any(phrase in line for phrase in UP_TO_DATE_PHRASES)
            if not any(phrase in line for phrase in HIDDEN_PHRASES):
                log(line)
        return StageResult(await process.wait(), is_up_to_date)
    finally:
        await _terminate(process)
        _running_groups.discard(process.pid)


def stop_all() -> None:
    """Send SIGTERM to every running stage and record the request."""
    global _stop_requested
    _stop_requested = True
    for group in tuple(_running_groups):
        _send_signal(group, signal.SIGTERM)


def is_stop_requested() -> bool:
    """Whether `stop_all` was called."""
    return _stop_requested


async def _terminate(process: Process) -> None:
    if process.returncode is not None:
        return
    _send_signal(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), TERMINATE_SECONDS)
    except TimeoutError:
        _send_signal(process.pid, signal.SIGKILL)


def _send_signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


async def _read_lines(process: Process) -> AsyncIterator[str]:
    """Whole lines of the output. A progress bar rewrites its line: it is shown on a terminal, else yielded rarely."""
    assert process.stdout is not None
    has_terminal, last_progress, pending = sys.stderr.isatty(), time.monotonic(), ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := await process.stdout.read(65536):
        *whole, pending = (pending + decoder.decode(chunk)).replace("\r\n", "\n").split("\n")
        for line in whole:
            if text := _last_state(line):
                yield text
        progress = _last_state(pending) if "\r" in pending else ""
        if progress and has_terminal:
            print(f"\r{progress}\033[K", end="\r", file=sys.stderr, flush=True)
        elif progress and time.monotonic() - last_progress > PROGRESS_SECONDS:
            last_progress = time.monotonic()
            yield progress
        pending = pending[pending.rfind("\r") :] if "\r" in pending else pending
    if pending.strip():
        yield _last_state(pending)


def _last_state(line: str) -> str:
    """What a terminal shows of a line after its last carriage return, without codes that a terminal obeys."""
    return printable(line.rsplit("\r", 1)[-1].rstrip().expandtabs())
