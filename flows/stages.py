"""The stages of `dvc.yaml` as processes: their order, one run through DVC, and stopping them all."""

import asyncio
import codecs
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

UNCHANGED = ("didn't change, skipping", "is cached - skipping run")
# What DVC says for someone who typed the command, and Prefect about its own flow runs.
NOISE = (
    "Use `dvc push`",
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "git add",
    "To enable auto staging",
    "dvc config core.autostage",
    "> python -m",
    "Data and pipelines are up to date",
    "Beginning subflow run",
    "View at http",
    "Finished in state",
    "Still processing items",
    "made_videos' is empty",  # as it should be, with videos of your own
    # transformers, about files that take a moment
    "Loading weights",
    "The tokenizer has new PAD/BOS/EOS tokens",
    "Writing model shards",
)
BAR_SECONDS = 20.0  # where no terminal shows bars as they move, one line this often says how far it is
KILL_SECONDS = 10.0
STOPPED = "stopped by a signal: finished stages are kept, the same command goes on from here"

# Process groups of the stages that run now, and whether a signal has asked for the end: signal handlers share no more.
_groups: set[int] = set()
_stop = False


@dataclass(frozen=True)
class Ended:
    """How a stage ended: the exit code, and whether DVC found it up to date."""

    code: int
    skipped: bool


def graph(project: Path) -> dict[str, list[str]]:
    """Stage -> the stages that it needs, in an order to run them; read from `dvc.yaml` by DVC itself."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        needs = repo.index.graph  # an edge leads from a stage to what it depends on
        ordered = [stage for stage in reversed(list(nx.topological_sort(needs))) if not stage.is_data_source]
        return {
            stage.addressing: sorted(need.addressing for need in needs.successors(stage) if not need.is_data_source)
            for stage in ordered
        }


def watching(project: Path) -> set[str]:
    """The stages that run each time, to see whether something outside the graph has changed."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        return {stage.addressing for stage in repo.index.stages if stage.always_changed}


async def run(stage: str, force: bool, environment: Mapping[str, str], log: Callable[[str], None]) -> Ended:
    """`dvc repro` of one stage in a process group of its own, its output to `log` line by line.

    Leaving early (a timeout, a cancelled flow) kills the whole group.
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
    _groups.add(process.pid)
    skipped = False
    try:
        async for line in _lines(process):
            skipped |= any(phrase in line for phrase in UNCHANGED)
            if not any(phrase in line for phrase in NOISE):
                log(line)
        return Ended(await process.wait(), skipped)
    finally:
        await _kill(process)
        _groups.discard(process.pid)


def stop() -> None:
    """Ask every running stage to end, and start no other: for signal handlers."""
    global _stop
    _stop = True
    for group in tuple(_groups):
        _signal(group, signal.SIGTERM)


def stopped() -> bool:
    """Whether `stop` was called."""
    return _stop


async def _kill(process: Process) -> None:
    if process.returncode is not None:
        return
    _signal(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), KILL_SECONDS)
    except TimeoutError:
        _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


async def _lines(process: Process) -> AsyncIterator[str]:
    """Whole lines of the output. A progress bar rewrites its line: it moves on a terminal and is thinned elsewhere."""
    assert process.stdout is not None
    terminal, told, pending = sys.stderr.isatty(), time.monotonic(), ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := await process.stdout.read(65536):
        *whole, pending = (pending + decoder.decode(chunk)).replace("\r\n", "\n").split("\n")
        for line in whole:
            if text := line.rsplit("\r", 1)[-1].rstrip():
                yield text
        bar = pending.rsplit("\r", 1)[-1].rstrip() if "\r" in pending else ""
        if bar and terminal:
            print(f"\r{bar}\033[K", end="\r", file=sys.stderr, flush=True)
        elif bar and time.monotonic() - told > BAR_SECONDS:
            told = time.monotonic()
            yield bar
        pending = pending[pending.rfind("\r") :] if "\r" in pending else pending
    if pending.strip():
        yield pending.rsplit("\r", 1)[-1].rstrip()
