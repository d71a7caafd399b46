"""Stage pretext: build the training set and VIUBench from the stored videos."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flows.recording import first_of_each_kind, record_stage
from flows.runtime import params_of, run_stage
from videossr.dataset.build import build_train, build_viubench
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import canonical_edit, write_samples
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.records import Sample
from videossr.workspace import selected_workers

SPLITS = ("train", "bench")


def main() -> None:
    params = params_of("pretext", PretextParams)
    split_of = {video.video_id: video.split for video in read_manifest(Path("data/manifest.parquet"))}
    store = FrameStore(Path("data/frames"))
    of_split = {
        split: [video for video in store.frame_times() if split_of[video.video_id] == split] for split in SPLITS
    }
    with record_stage("pretext") as run:
        sets = {
            "train": build_train(params, of_split["train"], selected_workers()),
            "viubench": build_viubench(params, of_split["bench"], selected_workers(), store),
        }
        for name, samples in sets.items():
            write_samples(Path(f"data/samples/{name}.parquet"), samples)
            run.log_metrics(Counter(f"{name}/{sample.kind}" for sample in samples))
            run.log_table(f"{name}.json", _sample_table(samples))


def _sample_table(samples: Sequence[Sample]) -> list[dict[str, str]]:
    """The first samples of each kind, as MLflow shows them."""
    return [
        {
            "kind": sample.kind,
            "sample": sample.sample_id,
            "video": sample.video_id,
            "edit": canonical_edit(sample),
            "question": sample.question,
            "answer": sample.answer,
        }
        for sample in first_of_each_kind(samples)
    ]


if __name__ == "__main__":
    run_stage(main, "pretext")
