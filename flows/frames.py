"""Stage frames: from the manifest to the read-only frame store, and the quarantine of every file that is not in it.

What earlier runs stored lies in work/, outside the graph: only videos that are new are decoded.
"""

from collections import Counter
from pathlib import Path

from flows.runtime import params_of, run_stage, section
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import Inventory, require_usable
from videossr.ingest.manifest import read_manifest, require_present
from videossr.storage.quarantine import read_quarantine, write_quarantine
from videossr.tracking import stage_run
from videossr.workspace import project_root, selected_workers

WORK = Path("work/frames")


def main() -> None:
    params = params_of("frames", FramesParams)
    store = Path("data/frames")
    with stage_run(project_root(), "frames", {"frames": section("frames")}) as run:
        videos = read_manifest(Path("data/manifest.parquet"))
        require_present(videos)
        unstored = write_store(videos, store, params, selected_workers(), WORK)
        refused = read_quarantine(Path("data/rejected.parquet"))
        unused = sorted([*refused, *unstored], key=lambda item: item.path)
        write_quarantine(Path("data/quarantine.parquet"), unused)
        stored = FrameStore(store)
        left = Inventory([video for video in videos if video.video_id in stored], unused)
        require_usable(left, section("ingest")["source"])
        reasons = Counter(f"rejected/{item.reason}" for item in unstored)
        run.log_metrics({**reasons, "videos": len(stored), "rejected": len(unstored)})


if __name__ == "__main__":
    run_stage(main, "frames")
