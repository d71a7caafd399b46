"""Stage frames: from the manifest to the read-only frame store, and the quarantine of all rejected files.

Shards are cached in work/, outside the graph: only new videos are decoded.
"""

from collections import Counter
from pathlib import Path

from flows.recording import record_stage
from flows.runtime import params_of, run_stage, section
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import Inventory, require_usable
from videossr.ingest.manifest import read_manifest, require_present
from videossr.storage.quarantine import read_quarantine, write_quarantine
from videossr.workspace import selected_workers

WORK = Path("work/frames")


def main() -> None:
    params = params_of("frames", FramesParams)
    store = Path("data/frames")
    with record_stage("frames") as run:
        videos = read_manifest(Path("data/manifest.parquet"))
        require_present(videos)
        rejected_here = write_store(videos, store, params, selected_workers(), WORK)
        rejected_by_ingest = read_quarantine(Path("data/rejected.parquet"))
        rejected = sorted([*rejected_by_ingest, *rejected_here], key=lambda file: file.path)
        write_quarantine(Path("data/quarantine.parquet"), rejected)
        stored = FrameStore(store)
        usable = Inventory([video for video in videos if video.video_id in stored], rejected)
        require_usable(usable, section("ingest")["source"])
        reasons = Counter(f"rejected/{file.reason}" for file in rejected_here)
        run.log_metrics({**reasons, "videos": len(stored), "rejected": len(rejected_here)})


if __name__ == "__main__":
    run_stage(main, "frames")
