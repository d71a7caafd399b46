"""Does memory stay flat? Ingest and frames over ten thousand videos, watched from outside while they run.

    python -m bench.many_videos               10,000 videos, a few minutes
    python -m bench.many_videos --videos 500

The videos are tiny (56 frames of 64x64) and differ in their bytes alone, so that all of them look alike: the worst case
for near-duplicates. Writes `reports/bench/memory.json`: one row for each stage and thousand videos with the resident
megabytes of the parent and of each worker, and one row a stage with what they grew by per thousand videos (the slope
of a line through the second half).
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from bench.footage import copy_in_other_bytes, make_clip
from bench.rows import write
from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest
from videossr.ingest.params import IngestParams

OUT = Path("reports/bench/memory.json")
CLIP = Path("work/bench/footage/tiny/56.mp4")
WORKERS = 2
WATCH_SECONDS = 0.1

T = TypeVar("T")
Row = Mapping[str, Any]
Moment = tuple[int, float, list[float]]  # videos done, megabytes of the parent, of each worker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    count = parser.parse_args().videos
    CLIP.parent.mkdir(parents=True, exist_ok=True)
    clip = make_clip(CLIP, 56 / 30, 64, 64)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        source, work = Path(name) / "source", Path(name)
        source.mkdir()
        for number in range(count):
            copy_in_other_bytes(clip, source / f"{number:06d}.mp4", number)
        inventory, moments = watched(partial(ingest, IngestParams(str(source)), work / "made", WORKERS))
        rows += told("ingest", moments, count)
        params = FramesParams(max_pixels=4096, min_pixels=1024)
        skipped, moments = watched(partial(write_store, inventory.videos, work / "frames", params, WORKERS))
        rows += told("frames", moments, count)
    if skipped or inventory.rejected or len(inventory.videos) != count:
        raise SystemExit("not every video was taken in")
    write(OUT, rows)
    show(rows)


def watched(work: Callable[[], T]) -> tuple[T, list[Moment]]:
    """What `work` returns, and what it held in memory while its progress bar moved."""
    moments: list[Moment] = []
    done = Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            bars = list(tqdm._instances)
            if bars and bars[0].n:
                moments.append((bars[0].n, megabytes(os.getpid()), [megabytes(pid) for pid in children()]))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return work(), moments
    finally:
        done.set()
        watcher.join()


def megabytes(pid: int) -> float:
    """Resident memory; 0 for a process that is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return sorted(int(pid) for task in tasks for pid in (task / "children").read_text(encoding="ascii").split())


def told(stage: str, moments: Sequence[Moment], count: int) -> list[Row]:
    """The last moment of each tenth of the videos, and what grew from half time on."""
    tenths = [max((m for m in moments if m[0] <= count * tenth / 10), default=None) for tenth in range(1, 11)]
    seen = [moment for moment in tenths if moment is not None]
    rows: list[Row] = [
        {"stage": stage, "videos": videos, "parent_mb": round(parent, 1), "workers_mb": [round(w, 1) for w in workers]}
        for videos, parent, workers in seen
    ]
    late = [moment for moment in moments if moment[0] >= count / 2]
    videos, parent, workers = (np.array(values, np.float64) for values in zip(*_same_workers(late), strict=True))
    slopes = {name: np.polyfit(videos / 1000, held, 1)[0] for name, held in (("parent", parent), ("worker", workers))}
    grown = {f"{name}_mb_per_1000_videos": round(float(slope), 3) for name, slope in slopes.items()}
    return [*rows, {"stage": stage, **grown, "parent_mb_at_most": round(max(m[1] for m in moments), 1)}]


def _same_workers(moments: Sequence[Moment]) -> Iterator[tuple[int, float, float]]:
    """With the mean of the workers, where all are there."""
    for videos, parent, workers in moments:
        if len(workers) == WORKERS and min(workers) > 0:
            yield videos, parent, sum(workers) / WORKERS


def show(rows: Sequence[Row]) -> None:
    table = Table("stage", "videos", "parent, MB", "workers, MB", title="Memory over many videos")
    for row in rows:
        if "videos" in row:
            workers = " ".join(map(str, row["workers_mb"]))
            table.add_row(row["stage"], str(row["videos"]), str(row["parent_mb"]), workers)
        else:
            grown = row["parent_mb_per_1000_videos"], row["worker_mb_per_1000_videos"]
            table.add_row(row["stage"], "growth per 1000", *map(str, grown), end_section=True)
    Console().print(table)


if __name__ == "__main__":
    main()
