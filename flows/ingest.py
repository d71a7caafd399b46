"""Stage ingest: from the snapshot of the source to the manifest of usable videos and the rejected files.

Inspections are cached in work/, outside the graph, so a killed run continues.
"""

from collections import Counter
from pathlib import Path

from flows.recording import record_stage
from flows.runtime import params_of, run_stage
from videossr.frames.sampling import FramesParams
from videossr.ingest.inventory import ingest, require_usable
from videossr.ingest.manifest import write_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import read_snapshot
from videossr.storage.quarantine import write_quarantine
from videossr.workspace import selected_workers

WORK = Path("work/ingest")


def main() -> None:
    params = params_of("ingest", IngestParams)
    frames = params_of("frames", FramesParams)
    with record_stage("ingest") as run:
        inventory = ingest(
            params,
            read_snapshot(Path("data/source.json")),
            Path("data/made_videos"),
            selected_workers(),
            min_frames=frames.num_frames,
            span=frames.span,
            work_dir=WORK,
        )
        write_quarantine(Path("data/rejected.parquet"), inventory.rejected)
        require_usable(inventory, params.source)
        write_manifest(Path("data/manifest.parquet"), inventory.videos)
        splits = Counter(f"videos/{video.split}" for video in inventory.videos)
        reasons = Counter(f"rejected/{file.reason}" for file in inventory.rejected)
        run.log_metrics({**splits, **reasons, "videos": len(inventory.videos), "rejected": len(inventory.rejected)})


if __name__ == "__main__":
    run_stage(main, "ingest")
