"""Import rows in the published format, which hold the shown frames as JPEG and no edit, as far as the edit follows.

The edit follows where it can be undone: from a jigsaw's answer the right order of its clips, and from a mirrored,
turned or recoloured interval the unedited frames. Such a sample renders to the pixels of its files, scaled as verl
scales them. Rows of other kinds (counting, zoom) are left out: neither shapes nor unedited frames can be computed.

Lost in each row: the presentation times (only their mean rate is given), and the first compression of frames that were
edited, which the published files compress twice.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from videossr import rewards
from videossr.clip import Clip, Pixels
from videossr.errors import SourceError
from videossr.frames.lossless import write_clips
from videossr.frames.sampling import fitted_size
from videossr.pretext import TASKS
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import Sample, kind_name

LOST = (
    "lost in every row: the presentation times (frames count as evenly spaced at sample_fps), and the first JPEG "
    "compression of edited frames (`videossr audit` shows whether it reveals the answer)"
)
_TASKS = {"grounding": "grounding", "shuffled": "jigsaw", "jigsaw": "jigsaw", "counting": "counting"}
# Perturbations that undo themselves, by their published names.
_SELF_INVERSE = {"ChannelSwap": "channel_swap", "Invert": "invert", "Mirror": "mirror", "Rotate180": "rotate_180"}
_COLUMNS = ("data_source", "prompt", "videos", "reward_model", "extra_info")


@dataclass(frozen=True)
class PublishedRows:
    """The samples of a published file whose edit follows, their videos, and how many rows were left out, by reason."""

    samples: list[Sample]
    videos: "PublishedVideos"
    left_out: Counter[str]


@dataclass(frozen=True)
class _Video:
    """The frame files of one video in the order in which they play, their rate, pixel bounds, and the edit to undo."""

    files: list[Path]
    fps: float
    min_pixels: int
    max_pixels: int
    undo: tuple[str, slice] | None


class _LeftOutError(Exception):
    """A row whose edit does not follow; the message is the reason."""


class PublishedVideos(Mapping[str, Clip]):
    """The unedited videos of published rows, by video id, read when they are asked for."""

    def __init__(self, videos: Mapping[str, _Video]) -> None:
        self._videos = videos

    def __getitem__(self, video_id: str) -> Clip:
        video = self._videos[video_id]
        frames = np.stack([_read_frame(file, video) for file in video.files])
        if video.undo:
            name, inside = video.undo
            frames[inside] = PERTURBATIONS[name].apply(frames[inside], {})
        return Clip(frames, np.arange(len(frames)) / video.fps)

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)


def import_published(path: Path, store: Path) -> PublishedRows:
    """Read a published parquet file and write the unedited frames as a frame store at `store`.

    Raises SourceError if the file or a frame cannot be read, or if the edit of no row follows.
    """
    rows = read_published(path)
    write_clips(rows.videos, store)
    return rows


def read_published(path: Path) -> PublishedRows:
    """The samples of a published parquet file. Frame files are looked for beside it, by the end of their paths.

    Raises SourceError like `import_published`, but does not read frames.
    """
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SourceError(f"{path} has not the columns {', '.join(_COLUMNS)} of published rows ({error})") from None
    samples, videos, left_out = [], {}, Counter[str]()
    for number, row in enumerate(tqdm(table.to_pylist(), "import", unit="row")):
        try:
            sample, video = _recover(row, f"published/{number:06d}", path.parent)
        except _LeftOutError as reason:
            left_out[str(reason)] += 1
            continue
        samples.append(sample)
        videos[sample.video_id] = video
    if not samples:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.most_common())
        raise SourceError(f"{path} holds only pixels, and the edit of none of its rows follows ({reasons})")
    return PublishedRows(samples, PublishedVideos(videos), left_out)


def _recover(row: Mapping[str, Any], sample_id: str, folder: Path) -> tuple[Sample, _Video]:
    """The sample of a row and its video. Raises _LeftOutError."""
    try:
        task = _TASKS[row["data_source"]]
        clips = [_find_files(entry["video"], folder) for entry in row["videos"]]
        entry, answer = row["videos"][0], row["reward_model"]["ground_truth"]
        fps, bounds = float(entry["sample_fps"]), (int(entry["min_pixels"]), int(entry["max_pixels"]))
        question, extra = row["prompt"][-1]["content"], row["extra_info"]
        if task == "jigsaw":
            variant, edit, files, undo = _recover_jigsaw(clips, answer)
        elif task == "grounding":
            variant, edit, files, undo = _recover_grounding(clips, answer, fps, str(extra.get("perturbation_type")))
        else:
            raise _LeftOutError(f"{task}: the drawn shapes cannot be computed from the pixels")
        times = np.arange(len(files)) / fps
        ours = TASKS[task]().answer(edit, times)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _LeftOutError(f"a row has not the published form ({type(error).__name__})") from None
    if rewards.score(task, answer, ours) < 0.9:  # one decimal may round to the other side
        raise _LeftOutError(f"{kind_name(task, variant)}: the answer does not fit the number of frames and their rate")
    video_id = hashlib.sha256("\n".join([sample_id, *map(str, files)]).encode()).hexdigest()[:16]
    return Sample(sample_id, task, variant, video_id, edit, question, ours), _Video(files, fps, *bounds, undo)


def _recover_jigsaw(clips: list[list[Path]], answer: str) -> tuple[str, dict[str, Any], list[Path], None]:
    """Variant, edit and files in playing order of a jigsaw whose clips are shown in the order `clips`."""
    plays = rewards.parse_order(answer, len(clips))
    if plays is None or str(len(clips)) not in TASKS["jigsaw"].variants or len({len(clip) for clip in clips}) != 1:
        raise _LeftOutError("jigsaw: the answer is no order of 4, 6 or 8 equal clips")
    if list(plays) == sorted(plays):
        raise _LeftOutError("jigsaw: the clips are shown in their right order")
    order = [plays.index(position + 1) for position in range(len(clips))]
    files = [file for position in plays for file in clips[position - 1]]
    return str(len(clips)), {"order": order, "frames_per_clip": len(clips[0])}, files, None


def _recover_grounding(
    clips: list[list[Path]], answer: str, fps: float, published: str
) -> tuple[str, dict[str, Any], list[Path], tuple[str, slice]]:
    """Variant, edit, files and what to undo of a grounding row."""
    if published not in _SELF_INVERSE:
        raise _LeftOutError(f"grounding/{published}: the unedited frames cannot be computed from the edited ones")
    (files,), variant, interval = clips, _SELF_INVERSE[published], rewards.parse_interval(answer)
    if interval is None:
        raise _LeftOutError(f"grounding/{published}: the answer is no interval")
    start, end = (round(seconds * fps) for seconds in interval)
    if not 0 <= start < end <= len(files):
        raise _LeftOutError(f"grounding/{published}: the answer lies outside the frames")
    edit = {"perturbation": variant, "num_frames": len(files), "stride": [1, 1], "offset": 0, "params": {}}
    return variant, {**edit, "start": start, "length": end - start}, files, (variant, slice(start, end))


def _find_files(names: list[str], folder: Path) -> list[Path]:
    """The frame files below `folder` whose paths end as `names` do. Raises _LeftOutError where one is missing."""
    return [_find_file(PurePosixPath(name).parts, folder) for name in names]


def _find_file(parts: tuple[str, ...], folder: Path) -> Path:
    # The paths come from a file of unknown origin, and from another machine: only files below `folder` are opened.
    for first in range(len(parts)):
        end = parts[first:]
        if not end[0].startswith("/") and ".." not in end and (file := folder.joinpath(*end)).is_file():
            return file
    raise _LeftOutError("frame files are missing beside the parquet file")


def _read_frame(file: Path, video: _Video) -> Pixels:
    data = np.fromfile(file, np.uint8)
    frame = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    if frame is None:
        raise SourceError(f"the frame {file} cannot be read as a picture: copy it again")
    height, width = fitted_size(frame.shape[0], frame.shape[1], video.min_pixels, video.max_pixels)
    if frame.shape[:2] != (height, width):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(frame, np.uint8)
