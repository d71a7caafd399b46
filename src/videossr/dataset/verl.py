"""Samples to and from parquet files in the columns that verl reads, without loss.

An export is a folder: `<name>.parquet` with one row a sample as verl reads them (`data_source`, `prompt`, `videos`,
`ability`, `reward_model`, `extra_info`), `<name>.videos.parquet` with the stored frames and times of every video used,
and `frames/` with each distinct frame once, as PNG, named by its pixels. Edited frames and others lie side by side and
went the same way: neither a file's name nor its compression tells them apart.

Differs: the published files hold JPEG, edited frames compressed twice; rows that hold pixels alone, without the edit
that `extra_info` carries here, cannot be rendered again and are refused.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from videossr.clip import Clip
from videossr.errors import SourceError
from videossr.frames.lossless import decode_png, encode_png, write_clips
from videossr.pretext import TASKS, PretextTask
from videossr.records import VIDEO_MARKER, Sample
from videossr.storage.atomic import atomic_file, write_bytes
from videossr.storage.tables import write_table

FRAMES = "frames"
_NAME = re.compile(r"[0-9a-f]{40}\.png")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it becomes part of names in the store's archives
_ROWS_AT_A_TIME = 256
# What a row may raise that does not have its task's form; its edit asks OpenCV for sizes that nobody has checked.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError, MemoryError, cv2.error)

_STRINGS = pa.list_(pa.string())
_VIDEO = pa.struct(
    [
        ("type", pa.string()),
        ("video", _STRINGS),
        ("sample_fps", pa.float64()),
        ("min_pixels", pa.int64()),
        ("max_pixels", pa.int64()),
    ]
)
_EXTRA = pa.struct(
    [
        ("split", pa.string()),
        ("index", pa.int64()),
        *((name, pa.string()) for name in ("sample_id", "task", "variant", "video_id", "edit", "question", "answer")),
        ("times", pa.list_(pa.list_(pa.float64()))),
    ]
)
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("videos", pa.list_(_VIDEO)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", _EXTRA),
    ]
)
_VIDEOS_SCHEMA = pa.schema([("video_id", pa.string()), ("times", pa.list_(pa.float64())), ("frames", _STRINGS)])


def export_samples(
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    tasks: Mapping[str, PretextTask],
    out: Path,
    name: str,
    system_prompt: str = "",
) -> Path:
    """Write samples as verl reads them into the folder `out`; returns the path of `<name>.parquet`.

    Frame paths are absolute, as verl needs them; an import looks beside the parquet file, so that the folder can move.
    `sample_fps` is the true mean rate of the shown frames; `extra_info.times` are their times in seconds.
    """
    (out / FRAMES).mkdir(parents=True, exist_ok=True)
    seen = _Noting(store)
    path = out / f"{name}.parquet"
    with atomic_file(path) as temporary:
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            rows = []
            for index, sample in enumerate(tqdm(samples, desc=f"export {name}", unit="sample")):
                rows.append(_row(sample, tasks[sample.task].render(sample, seen), out, name, index, system_prompt))
                if len(rows) == _ROWS_AT_A_TIME:
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        videos = [_video(video_id, store[video_id], out) for video_id in tqdm(sorted(seen.noted), desc="videos")]
        write_table(out / f"{name}.videos.parquet", pa.Table.from_pylist(videos, _VIDEOS_SCHEMA))
    return path


def read_export(path: Path) -> tuple[list[Sample], "ExportedFrames"]:
    """The samples of an exported parquet file, and the stored frames that they are cut from.

    Raises SourceError where the file is none that `export_samples` wrote.
    """
    if not path.is_file():
        raise SourceError(f"there is no exported file {path}: name the .parquet file of an export")
    file = _opened(path)
    _check_columns(file.schema_arrow, path)
    frames = ExportedFrames(path)
    rows = tqdm(_rows(file, ["extra_info", "videos", "reward_model"]), "import", file.metadata.num_rows, unit="sample")
    samples = {sample.sample_id: sample for sample in (_checked(row, frames, path) for row in rows)}
    if len(samples) < file.metadata.num_rows:
        raise SourceError(f"{path} gives the same sample_id to several samples: import files that were not joined")
    return list(samples.values()), frames


def import_samples(path: Path, store: Path) -> list[Sample]:
    """Read an exported parquet file and write its stored frames, without loss, as a frame store at `store`.

    Every sample is rendered, must show the very frames that were exported, and must have the answer that follows from
    its edit. Raises SourceError like `read_export`.
    """
    samples, frames = read_export(path)
    write_clips(frames, store)
    return samples


class ExportedFrames(Mapping[str, Clip]):
    """The stored frames of an export, by video id; a frame whose pixels do not fit its name raises SourceError."""

    def __init__(self, path: Path) -> None:
        self._root = path.parent
        index = path.with_name(f"{path.stem}.videos.parquet")
        if not index.is_file():
            raise SourceError(f"{path} lies without {index.name}: keep the files of an export together")
        file = _opened(index)
        if missing := set(_VIDEOS_SCHEMA.names) - set(file.schema_arrow.names):
            raise SourceError(f"{index} lacks the column {min(missing)}: copy the whole folder again")
        self._videos = {_known_id(row["video_id"], index): row for row in _rows(file, _VIDEOS_SCHEMA.names)}

    def __getitem__(self, video_id: str) -> Clip:
        video = self._videos[video_id]
        frames = [_read_frame(self._root, name) for name in video["frames"]]
        return Clip(np.stack(frames), np.array(video["times"]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)


class _Noting(Mapping[str, Clip]):
    """A store that notes which videos are asked for: what a sample is cut from is the task's own business."""

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store
        self.noted: set[str] = set()

    def __getitem__(self, video_id: str) -> Clip:
        self.noted.add(video_id)
        return self._store[video_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


def _row(sample: Sample, clips: Sequence[Clip], out: Path, name: str, index: int, system_prompt: str) -> dict[str, Any]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return {
        "data_source": sample.task,
        "prompt": [*system, {"role": "user", "content": sample.question}],
        "videos": [_shown(clip, out) for clip in clips],
        "ability": "video",
        "reward_model": {"style": "rule", "ground_truth": sample.answer},
        "extra_info": {
            "split": name,
            "index": index,
            **{field: getattr(sample, field) for field in ("sample_id", "task", "variant", "video_id")},
            "edit": json.dumps(sample.edit, sort_keys=True),
            "question": sample.question,
            "answer": sample.answer,
            "times": [clip.times.tolist() for clip in clips],
        },
    }


def _shown(clip: Clip, out: Path) -> dict[str, Any]:
    pixels = clip.frames.shape[1] * clip.frames.shape[2]
    return {
        "type": "video",
        "video": [str(out.resolve() / FRAMES / _write_frame(out, frame)) for frame in clip.frames],
        "sample_fps": (len(clip) - 1) / float(clip.times[-1] - clip.times[0]),
        # The frames have the model's size already: a reader is to leave it.
        "min_pixels": pixels,
        "max_pixels": pixels,
    }


def _video(video_id: str, clip: Clip, out: Path) -> dict[str, Any]:
    frames = [_write_frame(out, frame) for frame in clip.frames]
    return {"video_id": video_id, "times": clip.times.tolist(), "frames": frames}


def frame_name(frame: NDArray[np.uint8]) -> str:
    """The file name of a frame uint8 [H,W,3]: a hash of its shape and pixels."""
    digest = hashlib.sha256(json.dumps(frame.shape).encode())
    digest.update(np.ascontiguousarray(frame).tobytes())
    return f"{digest.hexdigest()[:40]}.png"


def _write_frame(out: Path, frame: NDArray[np.uint8]) -> str:
    name = frame_name(frame)
    path = out / FRAMES / name
    if not path.exists():
        write_bytes(path, encode_png(frame))
    return name


def _read_frame(root: Path, name: str) -> NDArray[np.uint8]:
    # Names come from a file that anyone may have written: only a plain name beside it is opened.
    if not _NAME.fullmatch(name):
        raise SourceError(f"a frame of an export is named by its pixels, got {name!r}")
    path = root / FRAMES / name
    try:
        frame = decode_png(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"frame {name} of the export cannot be read ({error}): copy the whole folder again") from None
    if frame_name(frame) != name:
        raise SourceError(f"frame {name} of the export holds other pixels than it did: copy the whole folder again")
    return frame


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as parquet ({error}): copy the whole folder again") from None


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=columns):
        yield from batch.to_pylist()


def _known_id(video_id: object, index: Path) -> str:
    if not isinstance(video_id, str) or not _VIDEO_ID.fullmatch(video_id):
        raise SourceError(f"{index} names a video {video_id!r}: ids are up to 64 letters, digits, '_' and '-'")
    return video_id


def _check_columns(schema: pa.Schema, path: Path) -> None:
    extra = schema.field("extra_info").type if "extra_info" in schema.names else None
    held = {field.name for field in extra} if isinstance(extra, pa.StructType) else set()
    if not {"videos", "reward_model"} <= set(schema.names) or not {field.name for field in _EXTRA} <= held:
        raise SourceError(
            f"{path} holds no edits in extra_info, only pixels, so its puzzles cannot be rendered again: import files "
            "that 'videossr export' wrote"
        )


def _checked(row: Mapping[str, Any], frames: "ExportedFrames", path: Path) -> Sample:
    """The sample of a row, rendered and held against the frames and the answer that the row names."""
    held = row["extra_info"] or {}
    if held.get("task") not in TASKS:
        raise SourceError(f"{path} holds a task '{held.get('task')}': known are {', '.join(TASKS)}")
    try:
        sample = _sample(held)
        task = TASKS[sample.task]()
        clip = frames[sample.video_id]
        if sample.edit.get("num_frames", 0) > len(clip):
            raise ValueError(f"it shows {sample.edit['num_frames']} of {len(clip)} stored frames")
        rendered = task.render(sample, frames)
        answer = task.answer(sample.edit, clip.times)
        named = [[PurePosixPath(frame).name for frame in video["video"]] for video in row["videos"]]
        told = {sample.answer, row["reward_model"]["ground_truth"]}
    except _UNREADABLE as error:
        raise SourceError(f"sample {held['sample_id']} of {path} cannot be rendered: {error!r}") from None
    shown = [[frame_name(frame) for frame in one.frames] for one in rendered]
    _require(shown == named, sample, path, "no longer renders to the frames that were exported")
    _require(told == {answer}, sample, path, f"has an answer that does not follow from its edit, which says {answer}")
    _require(sample.question.count(VIDEO_MARKER) == len(rendered), sample, path, "has a question without its clips")
    return sample


def _sample(held: Mapping[str, Any]) -> Sample:
    """Raises one of _UNREADABLE where a field is of another type, or the variant is none of its task's."""
    texts = {name: held[name] for name in ("sample_id", "task", "variant", "video_id", "question", "answer")}
    if absent := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise TypeError(f"{absent[0]} must be a text")
    if texts["variant"] not in TASKS[texts["task"]].variants:
        raise ValueError(f"{texts['task']} has no variant {texts['variant']!r}")
    return Sample(**texts, edit=json.loads(held["edit"]))


def _require(holds: bool, sample: Sample, path: Path, fault: str) -> None:
    if not holds:
        raise SourceError(f"sample {sample.sample_id} of {path} {fault}: import files that 'videossr export' wrote")
