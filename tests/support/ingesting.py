"""Ingest a source as the stages do, and read reasons from the inventory."""

from pathlib import Path
from typing import Any

from videossr.ingest.inventory import Inventory, ingest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import take_snapshot
from videossr.parallel import Workers

SMALL = {"height": 32, "width": 32, "options": {"preset": "ultrafast"}}


def ingest_source(params: IngestParams, made_videos_dir: Path, workers: Workers, **options: Any) -> Inventory:
    """Take a snapshot of the source and ingest it, as the stages `list` and `ingest` do."""
    return ingest(params, take_snapshot(params.source, made_videos_dir), made_videos_dir, workers, **options)


def ingest_path(
    source: Path, tmp_path: Path, workers: int = 0, bench_fraction: float = 0.3, min_frames: int = 16
) -> Inventory:
    """The inventory of a path, with parameters for small videos."""
    params = IngestParams(str(source), bench_fraction=bench_fraction)
    return ingest_source(params, tmp_path / "made_videos", workers, min_frames=min_frames)


def reasons(inventory: Inventory) -> dict[str, str]:
    """File name -> reason of each rejected file."""
    return {Path(file.path).name: file.reason for file in inventory.rejected}
