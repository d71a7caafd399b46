"""Stage train: from the samples to the policy before and after GRPO. Checkpoints are in work/, outside the graph."""

import os
from collections.abc import Callable
from pathlib import Path

from flows.runtime import params_of, run_stage, section
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.frames.store import FrameStore
from videossr.tracking import stage_run
from videossr.train import launch
from videossr.train.params import TrainParams
from videossr.train.stage import train
from videossr.workspace import project_root

WORK = Path("work/train")
REPORT = Path("reports/train.json")


def main() -> None:
    params = params_of("train", TrainParams)
    if launch.must_relaunch(params, os.environ):
        launch.relaunch(params, "flows.train", os.environ)
    elif launch.is_first(os.environ):
        with stage_run(project_root(), "train", {"train": section("train")}, resume=WORK / "mlflow_run.json") as run:
            run_grpo(params, run.log_metrics, run.set_warning)
            run.log_artifacts([REPORT])
    else:
        run_grpo(params, lambda metrics, step: None, lambda kind, sentence: None)


def run_grpo(
    params: TrainParams, log_metrics: Callable[[dict[str, float], int], None], warn: Callable[[str, str], None]
) -> None:
    """Train on the outputs of the earlier stages: the warm start if there is one, then GRPO."""
    samples = read_samples(Path("data/samples/train.parquet"))
    tasks = params_of("pretext", PretextParams).tasks
    store, start, policy = FrameStore(Path("data/frames")), Path("models/start"), Path("models/policy")
    train(params, samples, store, start, policy, WORK, REPORT, log_metrics, tasks, warn)


if __name__ == "__main__":
    run_stage(main, "train")
