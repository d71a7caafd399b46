"""Import an export in verl's format (see `verl_format`) as samples and a frame store, without loss.

Every sample is rendered again. It must give exactly the exported frames and the exported answer.

Rows without the edit in `extra_info`, such as those of the published files, hold only pixels and raise SourceError;
`verl_published` reads those.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr.clip import Clip, Pixels
from videossr.dataset.verl_format import (
    EXTRA_INFO,
    FRAMES_FOLDER,
    VIDEOS_SCHEMA,
    frame_name,
    reader_answer,
    videos_path,
)
from videossr.errors import SourceError
from videossr.frames.lossless import decode_png, write_clips
from videossr.pretext import TASKS
from videossr.records import VIDEO_MARKER, Sample

_FRAME_NAME = re.compile(r"[0-9a-f]{40}\.png")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # ids become part of file names in the shards of the frame store
_ROWS_PER_BATCH = 256
# Raised for a row whose values have other types or ranges than its task writes. MemoryError and cv2.error are among
# them because the sizes in an edit reach numpy and OpenCV unchecked.
_ROW_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError, MemoryError, cv2.error)


def import_samples(path: Path, store: Path) -> list[Sample]:
    """Read an exported parquet file, write its stored frames as a frame store at `store`, return its samples.

    Raises SourceError like `read_export`.
    """
    samples, frames = read_export(path)
    write_clips(frames, store)
    return samples


def read_export(path: Path) -> tuple[list[Sample], "ExportedFrames"]:
    """The verified samples of an exported parquet file, and the stored frames of their videos.

    Raises SourceError unless `export_samples` wrote the file and its samples render to the exported frames.
    """
    if not path.is_file():
        raise SourceError(f"there is no exported file {path}: name the .parquet file of an export")
    file = _open_parquet(path)
    _check_columns(file.schema_arrow, path)
    frames = ExportedFrames(path)
    num_rows = file.metadata.num_rows
    rows = tqdm(_iter_rows(file, ["extra_info", "videos", "reward_model"]), "import", num_rows, unit="sample")
    samples = {sample.sample_id: sample for sample in (_verified_sample(row, frames, path) for row in rows)}
    if len(samples) < num_rows:
        raise SourceError(f"{path} gives the same sample_id to several samples: import files that were not joined")
    return list(samples.values()), frames


class ExportedFrames(Mapping[str, Clip]):
    """The stored frames of an export, by video id. Raises SourceError if a frame's pixels do not match its name."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent / FRAMES_FOLDER
        index = videos_path(path)
        if not index.is_file():
            raise SourceError(f"{index.name} is missing beside {path}: keep the files of an export together")
        file = _open_parquet(index)
        if missing := set(VIDEOS_SCHEMA.names) - set(file.schema_arrow.names):
            raise SourceError(f"{index} lacks the column {min(missing)}: copy the whole folder again")
        self._videos = {_checked_id(row["video_id"], index): row for row in _iter_rows(file, VIDEOS_SCHEMA.names)}

    def __getitem__(self, video_id: str) -> Clip:
        video = self._videos[video_id]
        frames = [_read_frame(self._folder, name) for name in video["frames"]]
        return Clip(np.stack(frames), np.array(video["times"]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)


def _read_frame(folder: Path, name: str) -> Pixels:
    # The name comes from a file of unknown origin: a path such as ../secret.png must not be opened.
    if not _FRAME_NAME.fullmatch(name):
        raise SourceError(f"a frame of an export is named by its pixels, got {name!r}")
    try:
        frame = decode_png((folder / name).read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"frame {name} of the export cannot be read ({error}): copy the whole folder again") from None
    if frame_name(frame) != name:
        raise SourceError(
            f"frame {name} of the export holds other pixels than at the export: copy the whole folder again"
        )
    return frame


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as parquet ({error}): copy the whole folder again") from None


def _iter_rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns):
        yield from batch.to_pylist()


def _checked_id(video_id: object, index: Path) -> str:
    if not isinstance(video_id, str) or not _VIDEO_ID.fullmatch(video_id):
        raise SourceError(f"{index} names a video {video_id!r}: ids are up to 64 letters, digits, '_' and '-'")
    return video_id


def holds_edits(path: Path) -> bool:
    """Whether a parquet file has the columns of an export. Raises SourceError if there is no such file."""
    if not path.is_file():
        raise SourceError(f"there is no exported file {path}: name the .parquet file of an export")
    return _has_columns(_open_parquet(path).schema_arrow)


def _has_columns(schema: pa.Schema) -> bool:
    extra = schema.field("extra_info").type if "extra_info" in schema.names else None
    fields = {field.name for field in extra} if isinstance(extra, pa.StructType) else set()
    return {"videos", "reward_model"} <= set(schema.names) and {field.name for field in EXTRA_INFO} <= fields


def _check_columns(schema: pa.Schema, path: Path) -> None:
    if not _has_columns(schema):
        raise SourceError(
            f"{path} holds no edits in extra_info, only pixels, so its samples cannot be rendered again: import files "
            "that 'videossr export' wrote"
        )


def _verified_sample(row: Mapping[str, Any], frames: ExportedFrames, path: Path) -> Sample:
    """The sample of a row. Raises SourceError unless it renders to the row's frames and has the row's answer."""
    extra = row["extra_info"] or {}
    if extra.get("task") not in TASKS:
        raise SourceError(f"{path} holds a task '{extra.get('task')}': known are {', '.join(TASKS)}")
    try:
        sample = _parse_sample(extra)
        task, video = TASKS[sample.task](), frames[sample.video_id]
        if sample.edit.get("num_frames", 0) > len(video):
            raise ValueError(f"it shows {sample.edit['num_frames']} of {len(video)} stored frames")
        clips = task.render(sample, frames)
        answer = task.answer(sample.edit, video.times)
        exported_frames = [[PurePosixPath(frame).name for frame in entry["video"]] for entry in row["videos"]]
        answers = {"answer": answer, "ground_truth": reader_answer(task, sample, video.times, clips)}
        exported_answers = {"answer": sample.answer, "ground_truth": row["reward_model"]["ground_truth"]}
    except _ROW_ERRORS as error:
        raise SourceError(f"sample {extra['sample_id']} of {path} cannot be rendered: {error!r}") from None
    rendered_frames = [[frame_name(frame) for frame in clip.frames] for clip in clips]
    faults = {
        "no longer renders to the frames that were exported": rendered_frames != exported_frames,
        f"has an answer that does not follow from its edit, which gives {answers}": exported_answers != answers,
        "has a question without its clips": sample.question.count(VIDEO_MARKER) != len(clips),
    }
    for fault, is_present in faults.items():
        if is_present:
            raise SourceError(f"sample {sample.sample_id} of {path} {fault}: import files that 'videossr export' wrote")
    return sample


def _parse_sample(extra: Mapping[str, Any]) -> Sample:
    """The sample in `extra_info`. Raises one of _ROW_ERRORS for a field of another type or an unknown variant."""
    texts = {name: extra[name] for name in ("sample_id", "task", "variant", "video_id", "question", "answer")}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise TypeError(f"{wrong[0]} must be a text")
    if texts["variant"] not in TASKS[texts["task"]].variants:
        raise ValueError(f"{texts['task']} has no variant {texts['variant']!r}")
    return Sample(**texts, edit=json.loads(extra["edit"]))
