"""The manifest: the table of usable videos."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import SourceError
from videossr.records import Video
from videossr.storage.tables import write_table

_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("duration_seconds", pa.float64()),
        ("num_frames", pa.int64()),
        ("split", pa.string()),
    ]
)


def write_manifest(path: Path, videos: Sequence[Video]) -> None:
    """Write one parquet row per video; the columns are the fields of `Video`."""
    write_table(path, pa.Table.from_pylist([asdict(video) for video in videos], _SCHEMA))


def read_manifest(path: Path) -> list[Video]:
    """The videos of a manifest. Raises SourceError if the file is missing."""
    try:
        return [Video(**row) for row in pq.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise SourceError(f"no manifest at {path}: run the ingest stage") from None


def require_present(videos: Sequence[Video]) -> None:
    """Raise SourceError if no video is at the path where ingest found it: they were moved or deleted."""
    if videos and not any(Path(video.path).exists() for video in videos):
        raise SourceError(
            f"none of the {len(videos)} videos is where ingest found it (the first: {videos[0].path}): move them "
            "back, or ingest the source again (dvc repro --force ingest)"
        )
