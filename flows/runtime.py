"""How a stage runs: as plain Python where no Prefect server answers, as a visible flow run where one does.

`dvc repro` on a bare machine never imports Prefect. Below the pipeline, a stage joins the task that started it.
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

from flows.server import answers
from videossr import config
from videossr.errors import VideoSSRError

T = TypeVar("T")

PARAMS = Path("params.yaml")
# Set by the pipeline for its stages: a folder with the context of the task, where a stage leaves its sentence.
HANDOFF = "VIDEOSSR_HANDOFF"
PIPELINE = "VIDEOSSR_PIPELINE"  # its process id
CONTEXT_FILE, SENTENCE_FILE = "context.pkl", "sentence.txt"


def section(name: str) -> Mapping[str, Any]:
    """One section of the run's `params.yaml`."""
    return config.load(PARAMS)[name]


def params_of(name: str, cls: type[T]) -> T:
    """One section of the run's `params.yaml` as its checked dataclass. Raises ConfigError."""
    return config.build(cls, section(name), name)


def run_stage(stage: Callable[[], None], name: str) -> None:
    """Run a stage's body and exit: 0 when it ended well, 1 with one sentence where a person can mend it."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("videossr").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", category=FutureWarning)  # between libraries; the person can do nothing
    _end_with_pipeline()
    visible = answers(os.environ.get("PREFECT_API_URL"))
    sentence = _as_flow(stage, name) if visible else _plainly(stage)
    if sentence:
        _hand_back(sentence)
        sys.exit(f"{name} stopped: {sentence}")


def sentence_of(error: Exception) -> str | None:
    """The one sentence for a person, where the error is one that a person can mend."""
    if isinstance(error, VideoSSRError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free some space and run again, finished stages are kept"
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        return f"permission denied at {error.filename}: make it accessible and run again"
    return None


def _plainly(stage: Callable[[], None]) -> str | None:
    try:
        stage()
    except (VideoSSRError, OSError) as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        return sentence
    return None


def _as_flow(stage: Callable[[], None], name: str) -> str | None:
    from prefect import flow
    from prefect.states import Failed

    sentences: list[str] = []

    @flow(name=name, flow_run_name=name)
    def visible() -> Any:
        sentence = _plainly(stage)
        if sentence is None:
            return None
        sentences.append(sentence)
        return Failed(message=sentence)

    handoff = os.environ.get(HANDOFF)
    with _in_task_of(Path(handoff) / CONTEXT_FILE, visible) if handoff else nullcontext():
        state: Any = visible(return_state=True)
    if not sentences:
        state.result(raise_on_failure=True)
    return sentences[0] if sentences else None


def pack_context(path: Path) -> None:
    """Write the running task's context for a child process to join it: Prefect's own format, read back within this run.

    The flow and the task are left out: pickled by value, they would bring the whole pipeline's imports to every stage.
    """
    import cloudpickle
    from prefect.context import serialize_context

    context = serialize_context()
    del context["flow_run_context"]["flow"], context["task_run_context"]["task"]
    path.write_bytes(cloudpickle.dumps(context))


def _in_task_of(path: Path, child: Any) -> AbstractContextManager[None]:
    import cloudpickle
    from prefect import Task
    from prefect.context import hydrated_context

    context = cloudpickle.loads(path.read_bytes())
    context["flow_run_context"]["flow"] = child
    context["task_run_context"]["task"] = Task(child.fn)
    return hydrated_context(context)


def _end_with_pipeline() -> None:
    """Below a pipeline, end with it however it ends: were it killed, the next one would meet this stage at work."""
    pipeline = os.environ.get(PIPELINE)
    if pipeline is None:
        return

    def watch() -> None:
        while Path(f"/proc/{pipeline}").exists():
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _hand_back(sentence: str) -> None:
    handoff = os.environ.get(HANDOFF)
    if handoff is not None:
        (Path(handoff) / SENTENCE_FILE).write_text(sentence, encoding="utf-8")
