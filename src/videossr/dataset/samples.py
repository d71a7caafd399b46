"""Read and write samples as a parquet table: one row for each sample, the edit as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from videossr.errors import SourceError
from videossr.records import Sample
from videossr.storage.tables import write_table

_COLUMNS = ("sample_id", "task", "variant", "video_id", "edit", "question", "answer")
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as parquet, one row each, the edit as a JSON string; the file is written atomically."""
    rows = {name: [getattr(sample, name) for sample in samples] for name in _COLUMNS if name != "edit"}
    write_table(path, pa.table({**rows, "edit": [canonical_edit(sample) for sample in samples]}, schema=_SCHEMA))


def read_samples(path: Path) -> list[Sample]:
    """Read a file that `write_samples` wrote. Raises SourceError if it holds anything else."""
    try:
        rows = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
        return [Sample(**{**row, "edit": json.loads(row["edit"])}) for row in rows]
    except (pa.ArrowException, IsADirectoryError, KeyError, TypeError, ValueError):
        raise SourceError(f"{path} holds no samples: name a file that the pretext stage or an import wrote") from None


def canonical_edit(sample: Sample) -> str:
    """The edit of a sample as JSON; equal edits give equal texts."""
    return json.dumps(sample.edit, sort_keys=True, separators=(",", ":"))
