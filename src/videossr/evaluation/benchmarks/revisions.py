"""Which commit of its source a local copy of a benchmark is: a record beside the files, with their hashes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from videossr.errors import BenchmarkError
from videossr.evaluation.benchmarks.entries import Benchmark
from videossr.storage.atomic import write_json

RECORD = "source.json"


@dataclass(frozen=True)
class SourceRecord:
    """The files of a benchmark that were fetched: source, commit, and the SHA-256 of each file by name, hex."""

    benchmark: str
    source: str
    revision: str
    sha256: Mapping[str, str]


def recorded_revision(benchmark: Benchmark, folder: Path) -> str | None:
    """The commit that the files in `folder` were fetched at; None where they were not fetched, or changed since."""
    record = read_record(folder)
    if record is None or record.benchmark != benchmark.key or hash_files(folder, record.sha256) != record.sha256:
        return None
    return record.revision


def read_record(folder: Path) -> SourceRecord | None:
    """The record in `folder`, if there is one. Raises BenchmarkError where it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return SourceRecord(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        raise BenchmarkError(f"{path} is damaged: remove it and the files beside it, and fetch them again") from None


def write_record(folder: Path, benchmark: Benchmark, revision: str, names: Iterable[str]) -> None:
    """Record that the files `names` in `folder` are those of `revision`."""
    record = SourceRecord(benchmark.key, benchmark.source, revision, hash_files(folder, names))
    write_json(folder / RECORD, asdict(record))


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of those of the named files that are there, hex."""
    present = {name: folder / name for name in names if (folder / name).is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in present.items()}
