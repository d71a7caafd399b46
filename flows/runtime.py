"""How a stage runs: as plain Python without Prefect. Below the pipeline, a Prefect task shows what it prints."""

import errno
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm.contrib.logging import logging_redirect_tqdm

from videossr import config
from videossr.errors import VideoSSRError
from videossr.terminal import configure_output, printable
from videossr.tracking import write_stage_cost

T = TypeVar("T")

PARAMS = Path("params.yaml")
# The pipeline sets two environment variables for its stages. The first names a folder, to which a stage writes its
# error message. The second is the pipeline's process id.
HANDOFF_VARIABLE = "VIDEOSSR_HANDOFF"
PIPELINE_PID_VARIABLE = "VIDEOSSR_PIPELINE"
MESSAGE_FILE = "message.txt"
# Imports make many objects and no garbage: to search them for it takes a fifth of their time.
if "DVC_STAGE" in os.environ:
    gc.disable()


def section(name: str) -> Mapping[str, Any]:
    """One section of the run's `params.yaml`."""
    return config.load(PARAMS)[name]


def params_of(name: str, cls: type[T]) -> T:
    """One section of the run's `params.yaml` as its checked dataclass. Raises ConfigError."""
    return config.build(cls, section(name), name)


def run_stage(stage: Callable[[], None], name: str) -> None:
    """Run a stage, and store what it took. On an error that the user can fix, print one sentence and exit with 1."""
    gc.enable()
    configure_output()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("videossr").setLevel(logging.INFO)
    warnings.filterwarnings(
        "ignore", category=FutureWarning
    )  # from one library about another: the user cannot fix them
    _exit_when_pipeline_dies()
    with logging_redirect_tqdm():  # a message has a line of its own, above the progress bar
        message = _run(stage)
    if message is None and os.environ.get("DVC_STAGE") == name:  # not for other commands that run like a stage
        write_stage_cost(Path.cwd(), name)
    # The end of the process would search all that the libraries made for garbage: a second or more after torch.
    gc.freeze()
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
