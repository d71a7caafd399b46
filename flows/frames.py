"""Stage frames: from the manifest to the read-only frame store."""

from pathlib import Path

from flows.runtime import run_stage, section
from videossr import config
from videossr.frames import FramesParams, FrameStore, write_store
from videossr.ingest import read_manifest
from videossr.tracking import stage_run
from videossr.workspace import root, workers


def main() -> None:
    params = config.build(FramesParams, section("frames"), "frames")
    store = Path("data/frames")
    with stage_run(root(), "frames", {"frames": section("frames")}) as run:
        skipped = write_store(read_manifest(Path("data/manifest.parquet")), store, params, workers())
        run.metrics({"videos": len(FrameStore(store)), "skipped": len(skipped)})


if __name__ == "__main__":
    run_stage(main, "frames")
