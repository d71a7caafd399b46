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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from videossr.errors import SourceError
from videossr.frames import Clip, write_table
from videossr.frames.lossless import decode_png, encode_png, write_clips
from videossr.pretext import TASKS, PretextTask
from videossr.records import Sample

FRAMES = "frames"
_NAME = re.compile(r"[0-9a-f]{40}\.png")
_ROWS_AT_A_TIME = 256
# What an edit may raise that does not have its task's form.
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)

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
    unfinished = path.with_name(path.name + ".partial")
    with pq.ParquetWriter(unfinished, SCHEMA) as writer:
        rows = []
        for index, sample in enumerate(tqdm(samples, desc=f"export {name}", unit="sample")):
            rows.append(_row(sample, tasks[sample.task].render(sample, seen), out, name, index, system_prompt))
            if len(rows) == _ROWS_AT_A_TIME:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    videos = [_video(video_id, store[video_id], out) for video_id in tqdm(sorted(seen.noted), desc="videos")]
    write_table(out / f"{name}.videos.parquet", pa.Table.from_pylist(videos, _VIDEOS_SCHEMA))
    unfinished.replace(path)
    return path


def read_export(path: Path) -> tuple[list[Sample], "ExportedFrames"]:
    """The samples of an exported parquet file, and the stored frames that they are cut from.

    Raises SourceError where the file is none that `export_samples` wrote.
    """
    if not path.is_file():
        raise SourceError(f"there is no exported file {path}: name the .parquet file of an export")
    _check_columns(path)
    rows = pq.read_table(path, columns=["extra_info", "videos"]).to_pylist()
    frames = ExportedFrames(path)
    return [_checked(row, frames, path) for row in tqdm(rows, desc="import", unit="sample")], frames


def import_samples(path: Path, store: Path) -> list[Sample]:
    """Read an exported parquet file and write its stored frames, without loss, as a frame store at `store`.

    Every sample is rendered, and must show the very frames that were exported. Raises SourceError like `read_export`.
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
        self._videos = {row["video_id"]: row for row in pq.read_table(index).to_pylist()}

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
        unfinished = path.with_suffix(".partial")
        unfinished.write_bytes(encode_png(frame))
        unfinished.replace(path)
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


def _check_columns(path: Path) -> None:
    schema = pq.read_schema(path)
    held = schema.field("extra_info").type if "extra_info" in schema.names else pa.struct([])
    if "videos" not in schema.names or not {field.name for field in _EXTRA} <= {field.name for field in held}:
        raise SourceError(
            f"{path} holds no edits in extra_info, only pixels, so its puzzles cannot be rendered again: import files "
            "that 'videossr export' wrote"
        )


def _checked(row: Mapping[str, Any], frames: "ExportedFrames", path: Path) -> Sample:
    """The sample of a row, rendered and held against the frames that the row names."""
    held = row["extra_info"]
    if held["task"] not in TASKS:
        raise SourceError(f"{path} holds a task '{held['task']}': known are {', '.join(TASKS)}")
    fields = ("sample_id", "task", "variant", "video_id", "question", "answer")
    try:
        sample = Sample(**{name: held[name] for name in fields}, edit=json.loads(held["edit"]))
        rendered = TASKS[sample.task]().render(sample, frames)
    except _UNREADABLE as error:
        raise SourceError(f"sample {held['sample_id']} of {path} cannot be rendered: {error!r}") from None
    named = [[PurePosixPath(frame).name for frame in clip["video"]] for clip in row["videos"]]
    if [[frame_name(frame) for frame in clip.frames] for clip in rendered] != named:
        raise SourceError(f"sample {sample.sample_id} of {path} no longer renders to the frames that were exported")
    return sample
