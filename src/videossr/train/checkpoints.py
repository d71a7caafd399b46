"""What training leaves on disk: checkpoints that are whole or removed, and policies that appear at once."""

import logging
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from videossr.errors import TrainingError
from videossr.storage.atomic import atomic_folder

log = logging.getLogger(__name__)


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint as whole, with the run's key, after its last byte is written: a kill in between is seen."""

    MARK = "WHOLE"

    def __init__(self, key: str) -> None:
        self.key = key

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if state.is_world_process_zero:
            mark = Path(args.output_dir) / f"checkpoint-{state.global_step}" / self.MARK
            mark.write_text(self.key, encoding="utf-8")


def remove_incomplete(folder: Path) -> None:
    """Remove checkpoints that were not written to their end. Call it in one process only."""
    for checkpoint in [path for path in folder.glob("checkpoint-*") if not (path / WholeCheckpoints.MARK).exists()]:
        log.warning("removing %s: it was not written to its end", checkpoint)
        shutil.rmtree(checkpoint)


def run_folder(work: Path, key: str, steps: int) -> Path:
    """The folder of the run `key` in `work`. Where it has gone beyond `steps` already, a run of `steps` has its own.

    So a shorter run starts from step 0, and the checkpoints of the longer one stay.
    """
    marks = (work / key / "grpo").glob(f"checkpoint-*/{WholeCheckpoints.MARK}")
    has_gone_beyond = any(_step(mark.parent) > steps for mark in marks)
    return work / (f"{key}-{steps}" if has_gone_beyond else key)


def last_whole_checkpoint(folder: Path, key: str, before: int, every: int = 1) -> str | None:
    """The newest whole checkpoint of a step before `before` that is a multiple of `every`; None where there is none.

    A resumed run always trains at least one step, so the checkpoint of the last step is of no use; a rollout that
    serves `every` steps is in no checkpoint. Raises TrainingError where the checkpoint belongs to another run: another
    model, other parameters or other samples.
    """
    marked = [path.parent for path in folder.glob(f"checkpoint-*/{WholeCheckpoints.MARK}")]
    whole = sorted((path for path in marked if _step(path) < before and _step(path) % every == 0), key=_step)
    if not whole:
        return None
    if (whole[-1] / WholeCheckpoints.MARK).read_text(encoding="utf-8") != key:
        raise TrainingError(
            f"{whole[-1]} was written by a run of another policy, other parameters or other samples: move it away, "
            "or go back to what it was trained with"
        )
    return str(whole[-1])


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def publish(source: Path, target: Path) -> None:
    """Copy a folder; it appears at `target` at once, in place of an older one."""
    with atomic_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
