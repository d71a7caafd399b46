"""Stage train: from the samples to the policy before and after GRPO. Checkpoints lie in work/, outside the graph."""

from pathlib import Path

from flows.runtime import run_stage, section
from videossr import config
from videossr.dataset import read_samples
from videossr.frames import FrameStore
from videossr.tracking import stage_run
from videossr.train.params import TrainParams
from videossr.train.stage import train
from videossr.workspace import root

WORK = Path("work/train")
REPORT = Path("reports/train.json")


def main() -> None:
    params = config.build(TrainParams, section("train"), "train")
    samples = read_samples(Path("data/samples/train.parquet"))
    with stage_run(root(), "train", {"train": section("train")}, resume=WORK / "mlflow_run.json") as run:
        train(
            params,
            samples,
            FrameStore(Path("data/frames")),
            Path("models/start"),
            Path("models/policy"),
            WORK,
            REPORT,
            run.metrics,
        )
        run.artifacts([REPORT])


if __name__ == "__main__":
    run_stage(main, "train")
