"""Export samples and their rendered frames, without loss, in verl's format (see `verl_format`)."""

import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr import rewards
from videossr.clip import Clip, Pixels
from videossr.dataset.verl_format import (
    FRAMES_FOLDER,
    REWARD_FILE,
    SCHEMA,
    VIDEOS_SCHEMA,
    frame_name,
    reader_answer,
    sample_fps,
    videos_path,
)
from videossr.frames.lossless import encode_png
from videossr.pretext import PretextTask
from videossr.records import Sample
from videossr.storage.atomic import atomic_file, write_bytes
from videossr.storage.tables import write_table

log = logging.getLogger(__name__)

_ROWS_PER_BATCH = 256


def export_samples(
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    tasks: Mapping[str, PretextTask],
    out: Path,
    name: str,
    system_prompt: str = "",
) -> Path:
    """Write samples into the folder `out` as verl reads them; returns the path of `<name>.parquet`.

    A sample whose interval is empty on verl's even clock is left out, with a warning. Frame paths are absolute, as verl
    needs them. An import reads the frames beside the parquet file instead, so that the folder can be moved.
    """
    (out / FRAMES_FOLDER).mkdir(parents=True, exist_ok=True)
    write_bytes(out / REWARD_FILE, inspect.getsource(rewards).encode())
    recorder, num_left_out = _RecordingStore(store), 0
    path = out / f"{name}.parquet"
    with atomic_file(path) as temporary:
        progress = tqdm(total=len(samples), desc=f"export {name}", unit="sample")
        with pq.ParquetWriter(temporary, SCHEMA) as writer, progress:
            for first in range(0, len(samples), _ROWS_PER_BATCH):
                rows = []
                for index, sample in enumerate(samples[first : first + _ROWS_PER_BATCH], first):
                    task = tasks[sample.task]
                    clips = task.render(sample, recorder)
                    answer = reader_answer(task, sample, store[sample.video_id].times, clips)
                    if rewards.is_answer(sample.task, answer):
                        rows.append(_sample_row(sample, clips, answer, out, name, index, system_prompt))
                    else:
                        num_left_out += 1
                    progress.update()
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        used = tqdm(sorted(recorder.used), desc="videos")
        videos = [_video_row(video_id, store[video_id], out) for video_id in used]
        write_table(videos_path(path), pa.Table.from_pylist(videos, VIDEOS_SCHEMA))
    if num_left_out:
        reason = "their interval lasts less than a tenth of a second on the even clock that verl shows"
        log.warning("%s: %d of %d samples left out: %s", path, num_left_out, len(samples), reason)
    return path


class _RecordingStore(Mapping[str, Clip]):
    """A store that records the ids of the videos that are read. Only the task decides which videos it renders."""

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store
        self.used: set[str] = set()

    def __getitem__(self, video_id: str) -> Clip:
        self.used.add(video_id)
        return self._store[video_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


def _sample_row(
    sample: Sample, clips: Sequence[Clip], answer: str, out: Path, name: str, index: int, system_prompt: str
) -> dict[str, Any]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return {
        "data_source": sample.task,
        "prompt": [*system, {"role": "user", "content": sample.question}],
        "videos": [_video_entry(clip, out) for clip in clips],
        "ability": "video",
        "reward_model": {"style": "rule", "ground_truth": answer},
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


def _video_entry(clip: Clip, out: Path) -> dict[str, Any]:
    """An entry of the column `videos`: one rendered clip."""
    pixels = clip.frames.shape[1] * clip.frames.shape[2]
    return {
        "type": "video",
        "video": [str(out.resolve() / FRAMES_FOLDER / _write_frame(out, frame)) for frame in clip.frames],
        "sample_fps": sample_fps(clip),
        # The frames already have the size that the model reads; equal bounds keep a reader from resizing them.
        "min_pixels": pixels,
        "max_pixels": pixels,
    }


def _video_row(video_id: str, clip: Clip, out: Path) -> dict[str, Any]:
    """A row of `<name>.videos.parquet`: the stored frames of one video."""
    frames = [_write_frame(out, frame) for frame in clip.frames]
    return {"video_id": video_id, "times": clip.times.tolist(), "frames": frames}


def _write_frame(out: Path, frame: Pixels) -> str:
    """Write a frame if it is not there yet; returns its name."""
    name = frame_name(frame)
    path = out / FRAMES_FOLDER / name
    if not path.exists():
        write_bytes(path, encode_png(frame))
    return name
