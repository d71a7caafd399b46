"""Walk the graph of `dvc.yaml` with Prefect: one task a stage, retries, hard timeouts, logs; DVC decides what is stale.

`python -m flows.pipeline` uses the Prefect server that `make prefect` started, or one of its own while it runs.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows import preflight, runtime, stages
from flows.promote import promote as registered
from flows.server import server
from videossr.errors import VideoSSRError
from videossr.workspace import project_root

FINAL = "Stopped"  # the name of a failure that another try would only repeat
# What Prefect says of every run, at the level of what matters: why a run failed is told by the stage and at the end.
CHATTER = ("Beginning flow run", "Beginning subflow run", "Finished in state")


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(CHATTER)


for name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(name).addFilter(_is_news)


def _is_worth_another_try(task: Any, run: Any, state: Any) -> bool:
    return bool(state.name != FINAL)


# `cache_policy`: dvc.lock is the one truth about what need not run again.
@task(task_run_name="{stage}", cache_policy=NO_CACHE, retry_delay_seconds=2, retry_condition_fn=_is_worth_another_try)
async def run_stage(stage: str, force: bool) -> Any:
    """Run one stage through DVC; returns `ran` or `unchanged`. A person's mistake fails at once and is not retried."""
    with tempfile.TemporaryDirectory(prefix="videossr-") as handoff:
        runtime.pack_context(Path(handoff, runtime.CONTEXT_FILE))
        ended = await stages.run(stage, force, _child_environment(handoff), get_run_logger().info)
        sentence = Path(handoff, runtime.SENTENCE_FILE)
        if sentence.exists():
            return Failed(name=FINAL, message=sentence.read_text(encoding="utf-8"))
    if stages.stopped():
        return Failed(name=FINAL, message=stages.STOPPED)
    if ended.code != 0:
        return Failed(message=f"it exited with code {ended.code}, its last words are in the log above")
    return "unchanged" if ended.skipped else "ran"


@flow(name="pipeline")
def pipeline(
    force: bool = False, retries: int = 1, timeout_seconds: float = 7 * 24 * 3600, promote: bool = False
) -> Any:
    """Bring every output of `dvc.yaml` up to date; with `promote`, register the model afterwards.

    Returns what each stage did. `timeout_seconds` is for each stage: when it is over, its processes are killed.
    """
    try:
        preflight.check(project_root())
    except VideoSSRError as error:
        return Failed(message=str(error))
    with _stopping_children():
        futures: dict[str, Any] = {}
        for stage, needs in stages.graph(project_root()).items():
            bounded: Any = run_stage.with_options(timeout_seconds=timeout_seconds, retries=retries)
            futures[stage] = bounded.submit(stage, force, wait_for=[futures[need] for need in needs])
        for future in futures.values():
            future.wait()
    failed = {stage: future.state for stage, future in futures.items() if not future.state.is_completed()}
    for stage, state in failed.items():
        return Failed(message=f"{stage} stopped: {state.message}")
    done = {stage: future.result() for stage, future in futures.items()}
    watching = stages.watching(project_root())
    if {what for stage, what in done.items() if stage not in watching} == {"unchanged"}:
        get_run_logger().info("nothing to do: every stage is up to date")
    if promote:
        promoted: Any = registered(return_state=True)
        if not promoted.is_completed():
            return Failed(message=f"promote stopped: {promoted.message}")
        done["promote"] = promoted.result()
    return done


def _child_environment(handoff: str) -> dict[str, str]:
    return {
        **os.environ,
        runtime.HANDOFF: handoff,
        runtime.PIPELINE: str(os.getpid()),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        # DVC calls `python`: it must be the one that runs this.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _stopping_children() -> Iterator[None]:
    """Inside, SIGTERM and SIGINT stop the stages' processes at once; Prefect's own handlers would wait for them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        stages.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description=pipeline.__doc__)
    parser.add_argument("--force", action="store_true", help="run every stage, also those that are up to date")
    parser.add_argument("--promote", action="store_true", help="register the model, and crown it if it is better")
    parser.add_argument("--retries", type=int, default=1, help="how often a stage that crashed is tried again")
    asked = parser.parse_args()
    try:
        preflight.check(project_root())
        with server() as url, temporary_settings({PREFECT_API_URL: url}):
            state: Any = pipeline(force=asked.force, retries=asked.retries, promote=asked.promote, return_state=True)
            APILogHandler().flush()  # while there is a server to take the last lines
    except VideoSSRError as error:
        sys.exit(str(error))
    if not state.is_completed():
        sys.exit(str(state.message))


if __name__ == "__main__":
    main()
