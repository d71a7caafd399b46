"""The format of an export for verl: the files, their columns, and the names of the frames.

An export is a folder with these files:

- `<name>.parquet`: one row for each sample, in the columns that verl reads (`data_source`, `prompt`, `videos`,
  `ability`, `reward_model`, `extra_info`)
- `<name>.videos.parquet`: names of the stored frames, and their times, of every video that a sample uses
- `frames/`: each distinct frame once, as PNG, named by a hash of its pixels
- `reward.py`: the reward function, a copy of `videossr/rewards.py`, for verl's `custom_reward_function.path`

verl counts the times of a list of frames from zero, evenly at `sample_fps`. `reward_model.ground_truth` is the answer
on this clock (`reader_answer`). `extra_info` has the answer and the frame times on the clock of the video.

Edited and unedited frames are encoded in the same way, in one folder: neither name nor compression reveals an edit.

Differs: the published files hold JPEG, and their edited frames are compressed twice.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from videossr.clip import Clip, Pixels, Times
from videossr.pretext import PretextTask
from videossr.records import Sample

FRAMES_FOLDER = "frames"
REWARD_FILE = "reward.py"

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
EXTRA_INFO = pa.struct(
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
        ("extra_info", EXTRA_INFO),
    ]
)
VIDEOS_SCHEMA = pa.schema([("video_id", pa.string()), ("times", pa.list_(pa.float64())), ("frames", _STRINGS)])


def videos_path(samples_path: Path) -> Path:
    """The `<name>.videos.parquet` that belongs to `<name>.parquet`."""
    return samples_path.with_name(f"{samples_path.stem}.videos.parquet")


def frame_name(frame: Pixels) -> str:
    """The file name of a frame uint8 [H,W,3]: a hash of its shape and pixels."""
    digest = hashlib.sha256(json.dumps(frame.shape).encode())
    digest.update(np.ascontiguousarray(frame).tobytes())
    return f"{digest.hexdigest()[:40]}.png"


def sample_fps(clip: Clip) -> float:
    """The mean rate of the shown frames, in frames per second."""
    return (len(clip) - 1) / float(clip.times[-1] - clip.times[0])


def reader_answer(task: PretextTask, sample: Sample, stored: Times, clips: Sequence[Clip]) -> str:
    """The answer on the clock that verl shows with the rendered `clips`.

    qwen-vl-utils gives frame i of a list the time i / sample_fps, and verl's prompt shows these times. `stored` are the
    stored times of the video in seconds [T]. Several clips have a clock each, from zero, as in this project.
    """
    if len(clips) != 1:
        return task.answer(sample.edit, stored)
    shown = clips[0].times
    on_reader_clock = np.arange(len(shown)) / sample_fps(clips[0])
    # Between the shown frames the stored times are interpolated, outside them both clocks run equally fast.
    outside = np.minimum(stored - shown[0], 0) + np.maximum(stored - shown[-1], 0)
    return task.answer(sample.edit, np.interp(stored, shown, on_reader_clock) + outside)
