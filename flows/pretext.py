"""Stage pretext: build the training set and VIUBench from the stored videos."""

from collections import Counter
from pathlib import Path

from flows.runtime import params_of, run_stage, section
from videossr.dataset.build import build_train, build_viubench
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import write_samples
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.tracking import stage_run
from videossr.workspace import project_root, selected_workers

SPLITS = ("train", "bench")


def main() -> None:
    params = params_of("pretext", PretextParams)
    split_of = {video.video_id: video.split for video in read_manifest(Path("data/manifest.parquet"))}
    store = FrameStore(Path("data/frames"))
    of_split = {
        split: [video for video in store.frame_times() if split_of[video.video_id] == split] for split in SPLITS
    }
    with stage_run(project_root(), "pretext", {"pretext": section("pretext")}) as run:
        sets = {
            "train": build_train(params, of_split["train"], selected_workers()),
            "viubench": build_viubench(params, of_split["bench"], selected_workers(), store),
        }
        for name, samples in sets.items():
            write_samples(Path(f"data/samples/{name}.parquet"), samples)
            run.log_metrics(Counter(f"{name}/{sample.kind}" for sample in samples))


if __name__ == "__main__":
    run_stage(main, "pretext")
