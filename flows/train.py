"""Stage train: from the samples to the policy before and after GRPO. Checkpoints are in work/, outside the graph."""

import os
from collections.abc import Callable
from pathlib import Path

from flows.recording import record_stage
from flows.runtime import params_of, run_stage
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.frames.store import FrameStore
from videossr.storage.fingerprint import folder_fingerprint
from videossr.tracking import POLICY_TAG
from videossr.train import launch
from videossr.train.params import TrainParams
from videossr.train.stage import train

WORK = Path("work/train")
START, POLICY = Path("models/start"), Path("models/policy")
REPORT = Path("reports/train.json")


def main() -> None:
    params = params_of("train", TrainParams)
    if launch.must_relaunch(params, os.environ):
        launch.relaunch(params, "flows.train", os.environ)
    elif launch.is_first(os.environ):
        with record_stage("train", WORK / "mlflow_run.json", Path(params.policy).name) as run:
            run_grpo(params, run.log_metrics, run.set_warning)
            run.set_tag(POLICY_TAG, folder_fingerprint(POLICY))
            run.log_artifacts([REPORT])
    else:
        run_grpo(params, lambda metrics, step: None, lambda kind, sentence: None)


def run_grpo(
    params: TrainParams, log_metrics: Callable[[dict[str, float], int], None], warn: Callable[[str, str], None]
) -> None:
    """Train on the outputs of the earlier stages: the warm start if there is one, then GRPO."""
    samples = read_samples(Path("data/samples/train.parquet"))
    tasks = params_of("pretext", PretextParams).tasks
    store = FrameStore(Path("data/frames"))
    train(params, samples, store, START, POLICY, WORK, REPORT, log_metrics, tasks, warn)


if __name__ == "__main__":
    run_stage(main, "train")
