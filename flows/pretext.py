"""Stage pretext: from the stored videos' clocks to the training set and VIUBench, as edits."""

from collections import Counter
from pathlib import Path

from flows.runtime import run_stage, section
from videossr import config
from videossr.dataset import PretextParams, build_train, build_viubench, write_samples
from videossr.frames import FrameStore
from videossr.ingest import read_manifest
from videossr.tracking import stage_run
from videossr.workspace import root, workers


def main() -> None:
    params = config.build(PretextParams, section("pretext"), "pretext")
    split = {video.video_id: video.split for video in read_manifest(Path("data/manifest.parquet"))}
    footage = FrameStore(Path("data/frames")).footage()
    with stage_run(root(), "pretext", {"pretext": section("pretext")}) as run:
        for name, half, build in (("train", "train", build_train), ("viubench", "bench", build_viubench)):
            samples = build(params, [item for item in footage if split[item.video_id] == half], workers())
            write_samples(Path(f"data/samples/{name}.parquet"), samples)
            run.metrics(Counter(f"{name}/{sample.task}/{sample.variant}" for sample in samples))


if __name__ == "__main__":
    run_stage(main, "pretext")
