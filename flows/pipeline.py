"""Run the graph of `dvc.yaml` with Prefect: one task per stage, with retries, hard timeouts and logs. DVC skips stages.

`python -m flows.pipeline` uses the project's Prefect server, if it runs, or a temporary one.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from flows import artifacts, preflight, runtime, stages
from flows.promote import promote as promote_flow
from flows.recording import end_pipeline_run, pipeline_run
from flows.server import find_server, temporary_server
from videossr.errors import VideoSSRError
from videossr.terminal import configure_output, printable
from videossr.tracking import PipelineRun, prepare_tracking
from videossr.workspace import project_root

NOTHING_TO_DO = "nothing to do: every stage is up to date"
FIRST_RETRY_SECONDS = 2.0  # each later retry of a stage waits twice as long
CANCELLED_MESSAGE = "cancelled: finished stages are kept, and the next run continues from here"
NO_RETRY = "Stopped"  # the name of a failed state that is not retried
# Prefect logs these lines for every run. A stage logs why it failed, and the pipeline repeats it at the end.
ROUTINE_PREFIXES = ("Beginning flow run", "Beginning subflow run", "Finished in state")


def _is_informative(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(ROUTINE_PREFIXES)


def _is_no_link(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("View at")


for name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(name).addFilter(_is_informative)


def _should_retry(task: Any, run: Any, state: Any) -> bool:
    return bool(state.name != NO_RETRY)


# No Prefect cache: dvc.lock alone says which stages are up to date.
@task(task_run_name="{stage}", cache_policy=NO_CACHE, retry_condition_fn=_should_retry)
async def run_through_dvc(stage: str, force: bool, recorded: PipelineRun | None) -> Any:
    """Run one stage through DVC; returns `ran` or `unchanged`. An error that the user can fix is not retried.

    Its MLflow run is a child of `recorded`, unless the stage records none.
    """
    if not force and stages.is_up_to_date(project_root(), stage):
        get_run_logger().info("up to date")
        return "unchanged"
    with tempfile.TemporaryDirectory(prefix="videossr-") as handoff:
        environment = _stage_environment(handoff) | (recorded.open() if recorded else {})
        result = await stages.run_dvc_repro(stage, force, environment, get_run_logger().info)
        message = Path(handoff, runtime.MESSAGE_FILE)
        if message.exists():
            return Failed(name=NO_RETRY, message=message.read_text(encoding="utf-8"))
    if stages.is_stop_requested():
        return Failed(name=NO_RETRY, message=stages.STOPPED_MESSAGE)
    if result.exit_code != 0:
        return Failed(message=f"it exited with code {result.exit_code}, the end of its output is in the log above")
    return "unchanged" if result.is_up_to_date else "ran"


@flow(name="pipeline")
def pipeline(
    force: bool = False, retries: int = 1, timeout_seconds: float = 7 * 24 * 3600, promote: bool = False
) -> Any:
    """Bring every output of `dvc.yaml` up to date; with `promote`, register the model afterwards.

    Returns stage -> `ran` or `unchanged`. A stage that takes longer than `timeout_seconds` is killed.
    """
    try:
        preflight.check(project_root())
    except VideoSSRError as error:
        return Failed(message=printable(str(error)))
    recorded = pipeline_run()
    futures = _run_stages(force, retries, timeout_seconds, recorded)
    failed = {stage: future.state for stage, future in futures.items() if not future.state.is_completed()}
    outcomes: dict[str, Any] = {
        stage: "failed" if stage in failed else future.result() for stage, future in futures.items()
    }
    artifacts.publish(project_root(), recorded.run_id)
    for stage, state in failed.items():
        end_pipeline_run(recorded, "KILLED" if stages.is_stop_requested() else "FAILED", outcomes)
        if stages.is_stop_requested() and _is_cancelled():
            get_run_logger().info(CANCELLED_MESSAGE)
            raise TerminationSignal(signal.SIGTERM)  # Prefect accepts no other end of a cancelled run
        return Failed(message=f"{stage} stopped: {state.message}")
    always_run = stages.read_always_run(project_root())
    if {outcome for stage, outcome in outcomes.items() if stage not in always_run} == {"unchanged"}:
        get_run_logger().info(NOTHING_TO_DO)
    end_pipeline_run(recorded, "FINISHED", outcomes)
    if promote:
        promotion: Any = promote_flow(return_state=True)
        if not promotion.is_completed():
            return Failed(message=f"promote stopped: {promotion.message}")
        outcomes["promote"] = promotion.result()
    return outcomes


def _is_cancelled() -> bool:
    """Whether a person has cancelled the run, or the run below which this one is."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.root_flow_run_id)).state
    return state is not None and state.is_cancelling()


def _run_stages(force: bool, retries: int, timeout_seconds: float, recorded: PipelineRun) -> dict[str, Any]:
    """Run every stage after those that it depends on; returns the finished futures by stage.

    A signal stops the stages' processes at once: Prefect by itself would wait for them.
    """
    futures: dict[str, Any] = {}
    try:
        _submit_stages(futures, force, retries, timeout_seconds, recorded)
        _wait_for_all(futures)
    except (TerminationSignal, KeyboardInterrupt):
        stages.stop_all()
        _wait_for_all(futures)
    return futures


def _submit_stages(
    futures: dict[str, Any], force: bool, retries: int, timeout_seconds: float, recorded: PipelineRun
) -> None:
    always_run = stages.read_always_run(project_root())
    for stage, dependencies in stages.read_dependencies(project_root()).items():
        # The name shows until the task runs: its run name needs the arguments, which it gets then.
        stage_task: Any = run_through_dvc.with_options(
            name=stage,
            timeout_seconds=timeout_seconds,
            retries=retries,
            retry_delay_seconds=exponential_backoff(FIRST_RETRY_SECONDS),
        )
        parent = None if stage in always_run else recorded
        futures[stage] = stage_task.submit(stage, force, parent, wait_for=[futures[name] for name in dependencies])


def _wait_for_all(futures: dict[str, Any]) -> None:
    for future in futures.values():
        future.wait()


def _stage_environment(handoff: str) -> dict[str, str]:
    return {
        **stages.python_environment(),
        runtime.HANDOFF_VARIABLE: handoff,
        runtime.PIPELINE_PID_VARIABLE: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description=pipeline.__doc__)
    parser.add_argument("--force", action="store_true", help="run every stage, even if it is up to date")
    parser.add_argument(
        "--promote", action="store_true", help="register the model, and make it the champion if it is better"
    )
    parser.add_argument("--retries", type=int, default=1, help="how many times to retry a stage that crashed")
    arguments = parser.parse_args()
    configure_output()
    try:
        preflight.check(project_root())
        found = find_server()
        may_skip = not (found or arguments.force or arguments.promote)
        # A temporary server takes longer to start than this, and would have nothing to show.
        if may_skip and stages.is_everything_up_to_date(project_root(), stages.python_environment()):
            print(NOTHING_TO_DO)
            return
        if not found:
            logging.getLogger("prefect.flow_runs").addFilter(_is_no_link)  # the pages of this run end with it
        server = nullcontext(found) if found else temporary_server(partial(prepare_tracking, project_root()))
        with server as url, temporary_settings({PREFECT_API_URL: url}):
            options = {"force": arguments.force, "retries": arguments.retries, "promote": arguments.promote}
            state: Any = pipeline(**options, return_state=True)
            APILogHandler().flush()  # before the server ends
    except VideoSSRError as error:
        sys.exit(printable(str(error)))
    if not state.is_completed():
        sys.exit(str(state.message))


if __name__ == "__main__":
    main()
