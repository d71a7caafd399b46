"""Both stages of the data path: list, hash, probe, decode, store."""

from pathlib import Path

import pandas  # noqa: F401  pyarrow imports it with its first table; imported here, it is not in the measured time

from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store
from videossr.ingest.inventory import Inventory, ingest
from videossr.ingest.manifest import write_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import take_snapshot


def ingest_folder(source: Path, made_videos_dir: Path, workers: int) -> Inventory:
    """List and ingest a folder of videos, as the stages `list` and `ingest` do."""
    snapshot = take_snapshot(str(source), made_videos_dir)
    return ingest(IngestParams(str(source)), snapshot, made_videos_dir, workers)


def ingest_and_store(source: Path, out: Path, params: FramesParams, workers: int = 0) -> None:
    """Ingest a folder of videos and write its frame store below `out`. Exits where a file is rejected."""
    inventory = ingest_folder(source, out / "made_videos", workers)
    write_manifest(out / "manifest.parquet", inventory.videos)
    rejected = [*inventory.rejected, *write_store(inventory.videos, out / "frames", params, workers)]
    if rejected:
        raise SystemExit(f"every benchmark video must be usable, these were rejected: {rejected}")
