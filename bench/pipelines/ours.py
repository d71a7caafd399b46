"""Both stages of the data path: list, hash, probe, decode, store."""

from pathlib import Path

import pandas  # noqa: F401  pyarrow does so at its first table: like every import it is not counted

from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest
from videossr.ingest.manifest import write_manifest
from videossr.ingest.params import IngestParams


def ingest_and_store(source: Path, out: Path, params: FramesParams, workers: int = 0) -> None:
    inventory = ingest(IngestParams(str(source)), out / "made_videos", workers)
    write_manifest(out / "manifest.parquet", inventory.videos)
    skipped = write_store(inventory.videos, out / "frames", params, workers)
    if skipped or inventory.rejected:
        raise SystemExit(f"the footage was not taken in: {skipped or inventory.rejected}")
