"""Taking in a source as the stage does, and what tests ask of the inventory."""

from pathlib import Path

from videossr.ingest.inventory import Inventory, ingest
from videossr.ingest.params import IngestParams

SMALL = {"height": 32, "width": 32, "options": {"preset": "ultrafast"}}


def take_in(
    source: Path, tmp_path: Path, workers: int = 0, bench_fraction: float = 0.3, min_frames: int = 16
) -> Inventory:
    params = IngestParams(str(source), bench_fraction=bench_fraction)
    return ingest(params, tmp_path / "made_videos", workers, min_frames=min_frames)


def reasons(inventory: Inventory) -> dict[str, str]:
    return {Path(item.path).name: item.reason for item in inventory.rejected}
