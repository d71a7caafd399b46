"""How a stage runs: as plain Python, or as a Prefect flow run where a Prefect server is healthy.

`dvc repro` without a server never imports Prefect. Below the pipeline, a stage's flow run is a child of the task that
started it.
"""

import errno
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from flows.server import is_healthy
from videossr import config
from videossr.errors import VideoSSRError
from videossr.terminal import configure_output, printable

T = TypeVar("T")

PARAMS = Path("params.yaml")
# The pipeline sets two environment variables for its stages. The first names a folder: the task's context is in it, and
# the stage writes its error message to it. The second is the pipeline's process id.
HANDOFF_VARIABLE = "VIDEOSSR_HANDOFF"
PIPELINE_PID_VARIABLE = "VIDEOSSR_PIPELINE"
CONTEXT_FILE, MESSAGE_FILE = "context.pkl", "message.txt"


def section(name: str) -> Mapping[str, Any]:
    """One section of the run's `params.yaml`."""
    return config.load(PARAMS)[name]


def params_of(name: str, cls: type[T]) -> T:
    """One section of the run's `params.yaml` as its checked dataclass. Raises ConfigError."""
    return config.build(cls, section(name), name)


def run_stage(stage: Callable[[], None], name: str) -> None:
    """Run a stage. On an error that the user can fix, print one sentence and exit with code 1."""
    configure_output()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("videossr").setLevel(logging.INFO)
    warnings.filterwarnings(
        "ignore", category=FutureWarning
    )  # from one library about another: the user cannot fix them
    _exit_when_pipeline_dies()
    use_prefect = is_healthy(os.environ.get("PREFECT_API_URL"))
    message = _run_as_flow(stage, name) if use_prefect else _run(stage)
    if message:
        _send_to_pipeline(message)
        sys.exit(f"{name} stopped: {message}")


def user_message(error: Exception) -> str | None:
    """One sentence for the user where the user can fix the cause of `error`, else None."""
    if isinstance(error, VideoSSRError):
        return printable(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {printable(str(error.filename))}" if error.filename else ""
        return f"the disk is full{where}: free some space and run again; finished stages are kept"
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        return f"permission denied at {printable(str(error.filename))}: make it accessible and run again"
    return None


def _run(stage: Callable[[], None]) -> str | None:
    """Run a stage; returns the message of an error that the user can fix, and raises any other error."""
    try:
        stage()
    except (VideoSSRError, OSError) as error:
        message = user_message(error)
        if message is None:
            raise
        return message
    return None


def _run_as_flow(stage: Callable[[], None], name: str) -> str | None:
    """Like `_run`, inside a Prefect flow run that fails with the same message."""
    from prefect import flow
    from prefect.states import Failed

    messages: list[str] = []

    @flow(name=name, flow_run_name=name)
    def stage_flow() -> Any:
        message = _run(stage)
        if message is None:
            return None
        messages.append(message)
        return Failed(message=message)

    handoff = os.environ.get(HANDOFF_VARIABLE)
    with _task_context(Path(handoff) / CONTEXT_FILE, stage_flow) if handoff else nullcontext():
        state: Any = stage_flow(return_state=True)
    if not messages:
        state.result(raise_on_failure=True)
    return messages[0] if messages else None


def write_task_context(path: Path) -> None:
    """Write the context of the running Prefect task to `path`, in Prefect's own format, for a stage's process to join.

    The flow, the task and its arguments are removed. They are pickled by value, and would bring the pipeline's imports
    to every stage.
    """
    import cloudpickle
    from prefect.context import serialize_context

    context = serialize_context()
    del context["flow_run_context"]["flow"], context["task_run_context"]["task"]
    context["task_run_context"]["parameters"] = {}
    path.write_bytes(cloudpickle.dumps(context))


def _task_context(path: Path, stage_flow: Any) -> AbstractContextManager[None]:
    """The context that `write_task_context` wrote: runs of `stage_flow` inside it are children of that task."""
    import cloudpickle
    from prefect import Task
    from prefect.context import hydrated_context

    context = cloudpickle.loads(path.read_bytes())
    context["flow_run_context"]["flow"] = stage_flow
    context["task_run_context"]["task"] = Task(stage_flow.fn)
    return hydrated_context(context)


def _exit_when_pipeline_dies() -> None:
    """Kill this stage's process group when the pipeline ends, so that it does not run beside the next pipeline."""
    pipeline_pid = os.environ.get(PIPELINE_PID_VARIABLE)
    if pipeline_pid is None:
        return

    def watch() -> None:
        while Path(f"/proc/{pipeline_pid}").exists():
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _send_to_pipeline(message: str) -> None:
    handoff = os.environ.get(HANDOFF_VARIABLE)
    if handoff is not None:
        (Path(handoff) / MESSAGE_FILE).write_text(message, encoding="utf-8")
