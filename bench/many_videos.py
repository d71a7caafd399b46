"""Memory of ingest and frames over ten thousand videos, sampled while they run: does it grow?

    python -m bench.many_videos               10,000 videos, a few minutes
    python -m bench.many_videos --videos 500

The videos are tiny (56 frames of 64x64) and differ only in appended bytes, so all of them show the same: the worst case
for near-duplicates. Writes `reports/bench/memory.json`: for each stage and each thousand videos a row with the resident
megabytes of the parent and of each worker, and for each stage a row with the growth per thousand videos (the slope of a
line through the second half).
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from bench.pipelines.ours import ingest_folder
from bench.rows import write_rows
from bench.videos import copy_with_other_hash, write_noisy_video
from videossr.frames.sampling import FramesParams
from videossr.frames.writing import write_store

OUT = Path("reports/bench/memory.json")
CLIP = Path("work/bench/videos/tiny/56.mp4")
WORKERS = 2
SAMPLE_SECONDS = 0.1

T = TypeVar("T")
MemoryRow = Mapping[str, Any]


class MemorySample(NamedTuple):
    """Resident megabytes when `num_videos` were done."""

    num_videos: int
    parent: float
    workers: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    num_videos = parser.parse_args().videos
    clip = write_noisy_video(CLIP, 56 / 30, 64, 64)
    with tempfile.TemporaryDirectory() as name:
        source, work = Path(name) / "source", Path(name)
        for number in range(num_videos):
            copy_with_other_hash(clip, source / f"{number:06d}.mp4", number)
        inventory, ingest_samples = sample_memory(partial(ingest_folder, source, work / "made", WORKERS))
        params = FramesParams(max_pixels=4096, min_pixels=1024)
        run_frames = partial(write_store, inventory.videos, work / "frames", params, WORKERS)
        rejected, frames_samples = sample_memory(run_frames)
    if rejected or inventory.rejected or len(inventory.videos) != num_videos:
        raise SystemExit("every benchmark video must be usable: at least one was rejected")
    rows = [
        *summarise_memory("ingest", ingest_samples, num_videos),
        *summarise_memory("frames", frames_samples, num_videos),
    ]
    write_rows(OUT, rows)
    print_memory(rows)


def sample_memory(work: Callable[[], T]) -> tuple[T, list[MemorySample]]:
    """Run `work`; returns its result, and samples of memory taken while its progress bar moved."""
    samples: list[MemorySample] = []
    is_done = Event()

    def watch() -> None:
        while not is_done.wait(SAMPLE_SECONDS):
            bars = list(tqdm._instances)
            if bars and bars[0].n:
                workers = [resident_megabytes(pid) for pid in child_pids()]
                samples.append(MemorySample(bars[0].n, resident_megabytes(os.getpid()), workers))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return work(), samples
    finally:
        is_done.set()
        watcher.join()


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process; 0 where it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def child_pids() -> list[int]:
    """Process ids of the children of this process."""
    tasks = Path("/proc/self/task").iterdir()
    return sorted(int(pid) for task in tasks for pid in (task / "children").read_text(encoding="ascii").split())


def summarise_memory(stage: str, samples: Sequence[MemorySample], num_videos: int) -> list[MemoryRow]:
    """The last sample of each tenth of the videos, then the growth over the second half."""
    tenths = [
        max((sample for sample in samples if sample.num_videos <= num_videos * tenth / 10), default=None)
        for tenth in range(1, 11)
    ]
    rows: list[MemoryRow] = [
        {
            "stage": stage,
            "videos": sample.num_videos,
            "parent_mb": round(sample.parent, 1),
            "workers_mb": [round(worker, 1) for worker in sample.workers],
        }
        for sample in tenths
        if sample is not None
    ]
    # Only samples at which all workers were alive, so that every mean is over the same number of processes.
    second_half = [
        sample
        for sample in samples
        if sample.num_videos >= num_videos / 2 and len(sample.workers) == WORKERS and min(sample.workers) > 0
    ]
    thousands = [sample.num_videos / 1000 for sample in second_half]
    growth = {
        "parent_mb_per_1000_videos": _slope(thousands, [sample.parent for sample in second_half]),
        "worker_mb_per_1000_videos": _slope(thousands, [sum(sample.workers) / WORKERS for sample in second_half]),
    }
    return [*rows, {"stage": stage, **growth, "parent_mb_at_most": round(max(s.parent for s in samples), 1)}]


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the least-squares line through points."""
    return round(float(np.polyfit(np.array(x, np.float64), np.array(y, np.float64), 1)[0]), 3)


def print_memory(rows: Sequence[MemoryRow]) -> None:
    table = Table("stage", "videos", "parent, MB", "workers, MB", title="Memory over many videos")
    for row in rows:
        if "videos" in row:
            workers = " ".join(map(str, row["workers_mb"]))
            table.add_row(row["stage"], str(row["videos"]), str(row["parent_mb"]), workers)
        else:
            growth = row["parent_mb_per_1000_videos"], row["worker_mb_per_1000_videos"]
            table.add_row(row["stage"], "growth per 1000", *map(str, growth), end_section=True)
    Console().print(table)


if __name__ == "__main__":
    main()
