"""From a published file of annotations to flat records: the formats, and the seven shapes they come in."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from videossr.errors import BenchmarkError

Row = dict[str, Any]

_CHARADES_LINE = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.+)")


def find_file(folder: Path, paths: tuple[str, ...]) -> Path | None:
    """The first of `paths` that exists below `folder`, also directly in it, and with `.gz` added; else None."""
    names = [name for path in paths for name in (path, Path(path).name)]
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def read_document(path: Path) -> Any:
    """The content of a file by the ending of its name: JSON, or a list of dicts; of a text file its lines.

    Raises BenchmarkError where the file is damaged or not of the format that its name says.
    """
    name = path.name.removesuffix(".gz")
    read = _FORMATS.get(Path(name).suffix)
    if read is None:
        raise BenchmarkError(f"annotations must be one of {', '.join(_FORMATS)}, got {path}: convert the file")
    content = path.read_bytes()
    try:
        return read(gzip.decompress(content) if path.name.endswith(".gz") else content)
    except (ValueError, EOFError, OSError, zlib.error) as error:  # gzip and pyarrow raise the latter three
        reason = " ".join(str(error).split())[:100]
        kind = Path(name).suffix[1:]
        raise BenchmarkError(f"{path} is not a complete {kind} file ({reason}): download it again") from None


def _json_lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]


def _csv(content: bytes) -> list[Row]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def _parquet(content: bytes) -> list[Row]:
    import pyarrow.parquet as parquet  # half a second, and most benchmarks have no such file

    return parquet.read_table(io.BytesIO(content)).to_pylist()


_FORMATS: dict[str, Callable[[bytes], Any]] = {
    ".json": lambda content: json.loads(content.decode("utf-8")),
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": lambda content: content.decode("utf-8").splitlines(),
}


def read_rows(path: Path, reader: str, children: str = "") -> list[Row]:
    """The records of a file, flat, each with `position` in its list.

    `children` names the field that holds the questions of a record, for the reader of that name. Raises BenchmarkError
    where the file is damaged or has another shape.
    """
    document = read_document(path)
    try:
        if reader == "children":
            return list(_children(document, children))
        return list(READERS[reader](document))
    except _ShapeError as error:
        raise BenchmarkError(
            f"{path} must hold {error}: the file is of another benchmark or version, see docs/benchmarks.md"
        ) from None


class _ShapeError(Exception):
    """The document has another shape; the message says which one was expected."""


def _records(document: Any) -> Iterator[Row]:
    for position, row in enumerate(_list(document, "a list of records")):
        yield {"position": position, **_dict(row, "a list of records")}


def _keyed(document: Any) -> Iterator[Row]:
    """`{"Perception": {"0": {..}, ..}}`: adds `part` and `key`."""
    shape = "records by number below the name of a part"
    for part, rows in _dict(document, shape).items():
        for position, (key, row) in enumerate(_dict(rows, shape).items()):
            yield {"position": position, "part": part, "key": key, **_dict(row, shape)}


def _nested(document: Any) -> Iterator[Row]:
    """`{video: {dimension: [{..}, ..]}}`: adds `video_id` and `dimension`."""
    shape = "lists of questions by video and dimension"
    for video_id, dimensions in _dict(document, shape).items():
        for dimension, rows in _dict(dimensions, shape).items():
            for position, row in enumerate(_list(rows, shape)):
                keys = {"video_id": video_id, "dimension": dimension, "position": position}
                yield {**keys, **_dict(row, shape)}


def _children(document: Any, name: str) -> Iterator[Row]:
    """`[{.., name: [{..}, ..]}, ..]`: each child with the fields of its parent, `position` counted over all."""
    shape = f"a list of records with their questions in '{name}'"
    position = 0
    for parent in _list(document, shape):
        for child in _list(_dict(parent, shape).get(name), shape):
            yield {"position": position, **parent, **_dict(child, shape)}
            position += 1


def _dense(document: Any) -> Iterator[Row]:
    """`{video: {duration, timestamps, sentences}}`: one record a sentence, with its `windows` in seconds."""
    shape = "duration, timestamps and sentences by video"
    for video_id, record in _dict(document, shape).items():
        timestamps, sentences = _timed_sentences(record, ("duration",), shape)
        for position, (window, sentence) in enumerate(zip(timestamps, sentences, strict=True)):
            row = {"video_id": video_id, "position": position, "sentence": sentence, "windows": [window]}
            yield {**row, "duration": record["duration"]}


def _dense_frames(document: Any) -> Iterator[Row]:
    """Like `_dense`, from frame numbers: adds `duration`, the number of frames over the frame rate."""
    shape = "fps, num_frames, timestamps and sentences by video"
    for video_id, record in _dict(document, shape).items():
        timestamps, sentences = _timed_sentences(record, ("fps", "num_frames"), shape)
        fps = _positive(record["fps"], shape)
        for position, (window, sentence) in enumerate(zip(timestamps, sentences, strict=True)):
            seconds = [_number(frame, shape) / fps for frame in _list(window, shape)]
            row = {"video_id": video_id, "position": position, "sentence": sentence, "windows": [seconds]}
            yield {**row, "duration": _number(record["num_frames"], shape) / fps}


def _charades(lines: Any) -> Iterator[Row]:
    """Lines `video start end##sentence`, seconds."""
    shape = "lines 'video start end##sentence'"
    for position, line in enumerate(_list(lines, shape)):
        match = _CHARADES_LINE.fullmatch(line) if isinstance(line, str) else None
        if match is None:
            raise _ShapeError(f"{shape}, but line {position + 1} is {line!r:.60}")
        window = [_number(match[2], shape), _number(match[3], shape)]
        yield {"position": position, "video_id": match[1], "windows": [window], "sentence": match[4]}


READERS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "records": _records,
    "keyed": _keyed,
    "nested": _nested,
    "dense": _dense,
    "dense_frames": _dense_frames,
    "charades": _charades,
}


def _timed_sentences(record: Any, others: tuple[str, ...], shape: str) -> tuple[list[Any], list[Any]]:
    keys = _dict(record, shape)
    if not {*others, "timestamps", "sentences"} <= keys.keys():
        raise _ShapeError(shape)
    timestamps, sentences = _list(keys["timestamps"], shape), _list(keys["sentences"], shape)
    if len(timestamps) != len(sentences):
        raise _ShapeError(f"{shape}, one window a sentence")
    return timestamps, sentences


def _dict(value: Any, shape: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _ShapeError(shape)
    return value


def _list(value: Any, shape: str) -> list[Any]:
    if not isinstance(value, list):
        raise _ShapeError(shape)
    return value


def _number(value: Any, shape: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _ShapeError(f"{shape}, but {value!r:.30} is no number") from None


def _positive(value: Any, shape: str) -> float:
    number = _number(value, shape)
    if not number > 0:
        raise _ShapeError(f"{shape}, but fps is {value!r:.30}")
    return number
