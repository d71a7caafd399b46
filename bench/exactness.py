"""Are stored frames those of a full decode? Every file of some folders, read as the frames stage reads it.

    python -m bench.exactness ../shared/videos ../shared/faults/videos

Writes `docs/measured/exactness.json`: for each file, whether it is stored or for which reason it is not, how many of
its stored frames and times equal those of a full decode, and by which reader they were read. The full decode is one of
PyAV alone, from the first packet to the last; its best-effort times are made to rise as `decode/clock.py` does it. A
file with another number of frames than its full decode has only wrong times.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from videossr.clip import Clip, Pixels, Times
from videossr.decode import VideoInfo, probe_and_read
from videossr.decode.clock import best_effort_ticks, rising_ticks
from videossr.decode.orientation import to_upright_rgb
from videossr.errors import DecodeError
from videossr.frames.encoding import read_chosen_frames
from videossr.frames.sampling import FramesParams
from videossr.ingest.listing import VIDEO_SUFFIXES
from videossr.storage.atomic import write_text

OUT = Path("docs/measured/exactness.json")
SIZE = (64, 96)
_BROADCAST = ("mpegts", "mpeg", "flv")


@dataclass(frozen=True)
class FileRow:
    """One file. `wrong_frames` and `wrong_times` count the stored frames that a full decode does not show so."""

    file: str
    codec: str = ""
    container: str = ""
    shown_frames: int = 0
    stored_frames: int = 0
    replaced_frames: int = 0
    wrong_frames: int = 0
    wrong_times: int = 0
    reader: str = ""
    rejected: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--num-frames", type=int, default=48)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows = [
        compare_file(path, folder, arguments.num_frames)
        for folder in arguments.folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    stored = [row for row in rows if not row.rejected]
    exact = sum(row.wrong_frames == row.wrong_times == 0 for row in stored)
    summary = {"files": len(rows), "stored": len(stored), "exact": exact}
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    write_text(arguments.out, f'{{"summary": {json.dumps(summary)}, "files": [\n{lines}\n]}}\n')
    print(f"{exact} of {len(stored)} stored files are exact; {len(rows) - len(stored)} of {len(rows)} are not stored")


def compare_file(path: Path, folder: Path, num_frames: int) -> FileRow:
    """Read the frames of `path` as the frames stage does, and compare them with a full decode."""
    name = str(path.relative_to(folder.parent))
    params = FramesParams(num_frames=num_frames)

    def read(info: VideoInfo) -> tuple[VideoInfo, Clip, str, int]:
        chosen = read_chosen_frames(path, info, params, SIZE)
        return info, chosen.clip, chosen.choice.reader, chosen.replaced

    try:
        info, clip, reader, replaced = probe_and_read(path, read, num_frames)
    except DecodeError as error:
        return FileRow(name, rejected=str(error))
    numbers = np.searchsorted(info.times, clip.times)
    times, frames = full_decode(path, info, set(numbers.tolist()))
    is_complete = len(times) == len(info.times)
    return FileRow(
        name,
        codec=info.codec,
        container=info.container,
        shown_frames=len(times),
        stored_frames=len(clip),
        replaced_frames=replaced,
        wrong_frames=sum(
            not np.array_equal(ours, frames.get(number)) for ours, number in zip(clip.frames, numbers, strict=True)
        ),
        wrong_times=int(np.sum(np.abs(times[numbers] - clip.times) > 1e-6)) if is_complete else len(clip),
        reader=reader,
    )


def full_decode(path: Path, info: VideoInfo, wanted: set[int]) -> tuple[Times, dict[int, Pixels]]:
    """The times of all frames that PyAV decodes from `path`, and the frames whose numbers are `wanted`, by number."""
    pts, dts, frames = list[int | None](), list[int | None](), dict[int, Pixels]()
    for number, frame in enumerate(_decode(path, info)):
        pts.append(frame.pts)
        dts.append(frame.dts)
        if number in wanted:
            frames[number] = to_upright_rgb(frame, SIZE, info.orientation)
    ticks = dts if info.container == "avi" else best_effort_ticks(pts, dts)
    with av.open(str(path)) as container:
        seconds_per_tick = float(container.streams[info.stream_index].time_base or 1)
    steps = np.diff(np.array([tick for tick in ticks if tick is not None], np.int64))
    usual = float(np.median(steps[steps > 0])) if np.any(steps > 0) else 1.0
    longest = 60.0 / seconds_per_tick if info.container in _BROADCAST else np.inf
    return rising_ticks(ticks, usual, longest) * seconds_per_tick, frames


def _decode(path: Path, info: VideoInfo) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams[info.stream_index]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.FFmpegError:  # a full decode shows what it can
                continue


if __name__ == "__main__":
    main()
