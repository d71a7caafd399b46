"""The comparisons of `bench.data_path`; footage is kept in `work/bench`."""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bench import our_way, our_worker, reference_way
from bench.footage import make_clip, repeat
from bench.measure import cost
from bench.rows import Row
from videossr.dataset import PretextParams, TrainSet, build_train
from videossr.decode import decode
from videossr.frames import FramesParams, FrameStore
from videossr.ingest import read_manifest
from videossr.pretext import Grounding
from videossr.records import Footage

FOOTAGE = Path("work/bench")
VARIANTS = ("mirror", "rotate_180", "channel_swap", "zoom_out")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    clip_seconds: float
    long_minutes: int
    large_seconds: float
    num_clips: int
    num_samples: int
    repeats: int


FULL = Sizes(clip_seconds=60, long_minutes=30, large_seconds=10, num_clips=16, num_samples=30_000, repeats=20)
QUICK = Sizes(clip_seconds=8, long_minutes=2, large_seconds=2, num_clips=4, num_samples=3_000, repeats=4)


def better(name: str, ours: float, theirs: float, unit: str) -> Row:
    return Row(name, ours, theirs, theirs / ours, unit)


def compare_ingest(work: Path, sizes: Sizes) -> list[Row]:
    clip = make_clip(_folder("clip") / f"{sizes.clip_seconds:g}s.mp4", sizes.clip_seconds, 720, 1280)
    minute = make_clip(_folder("minute") / "60s.mp4", 60, 480, 854)
    long = repeat(minute, _folder("long") / f"{sizes.long_minutes}min.mp4", sizes.long_minutes)
    large = make_clip(_folder("large") / f"{sizes.large_seconds:g}s.mp4", sizes.large_seconds, 2160, 3840)
    rows = []
    for name, video, sampling, memory in (
        ("ingest_60s", clip, "uniform", "worker_memory"),
        ("ingest_30min", long, "keyframes", None),
        (None, large, "uniform", "worker_memory_4k"),
    ):
        source = _alone(video, work)
        params = FramesParams(sampling=sampling, verify_fraction=0.0)
        ours = cost(partial(our_way.ingest_and_store, source, work / f"ours-{video.stem}", params))
        theirs = cost(partial(reference_way.ingest_all, source, work / f"theirs-{video.stem}"))
        if name:
            unit = f"CPU-seconds, {video.stem} of video"
            rows.append(better(name, ours.cpu_seconds, theirs.cpu_seconds, unit))
        if memory:
            videos = read_manifest(work / f"ours-{video.stem}" / "manifest.parquet")
            worker = cost(partial(our_worker.encode, videos, params))
            rows.append(better(memory, worker.peak_bytes / 1e6, theirs.peak_bytes / 1e6, "MB at the peak"))
    return rows


def compare_storage(work: Path, sizes: Sizes) -> list[Row]:
    """On what `compare_ingest` left of the 720p clip."""
    stem = f"{sizes.clip_seconds:g}s"
    ours, theirs = work / f"ours-{stem}", work / f"theirs-{stem}" / stem
    video = read_manifest(ours / "manifest.parquet")[0]
    stored = FrameStore(ours / "frames")[video.video_id]
    exact = decode(Path(video.path), stored.times, size=stored.frames.shape[1:3])
    noise = [np.mean((_luma(a) - _luma(b)) ** 2) for a, b in zip(stored.frames, exact.frames, strict=True)]
    decibels = 10 * np.log10(255**2 / np.mean(noise))
    size = sum(path.stat().st_size for path in (ours / "frames").iterdir())
    return [better("bytes_per_video", size, reference_way.stored_bytes(theirs), f"bytes, ours at {decibels:.1f} dB")]


def compare_samples(work: Path, sizes: Sizes) -> list[Row]:
    stem = f"{sizes.clip_seconds:g}s"
    store, theirs = FrameStore(work / f"ours-{stem}" / "frames"), work / f"theirs-{stem}" / stem
    task, footage = Grounding(), store.footage()[0]
    began = time.process_time()
    samples = [
        task.generate(footage, VARIANTS[number % 4], np.random.default_rng(number))
        for number in range(100 * sizes.repeats)
    ]
    ours_seconds = (time.process_time() - began) / len(samples)
    ours_bytes = float(np.mean([len(json.dumps(asdict(sample))) for sample in samples]))
    began = time.process_time()
    new_bytes = [reference_way.edit(theirs, work / "edited", number) for number in range(sizes.repeats)]
    theirs_seconds = (time.process_time() - began) / sizes.repeats
    size = store[footage.video_id].frames.shape[1:3]
    began = time.process_time()
    for sample in samples[: sizes.repeats]:
        task.render(sample, store)
    ours_load = (time.process_time() - began) / sizes.repeats
    began = time.process_time()
    for _ in range(sizes.repeats):
        reference_way.load(sorted(theirs.glob("frame_*.jpg")), size)
    theirs_load = (time.process_time() - began) / sizes.repeats
    return [
        better("sample_time", ours_seconds, theirs_seconds, "CPU-seconds a sample"),
        better("sample_bytes", ours_bytes, float(np.mean(new_bytes)), "bytes a sample, before compression"),
        better("load_render", ours_load, theirs_load, "CPU-seconds a sample"),
        thirty_thousand(sizes, theirs_seconds),
    ]


def thirty_thousand(sizes: Sizes, theirs_seconds: float) -> Row:
    """VideoSSR-30K over a store that is only an index; theirs is what one sample took, on two cores."""
    rng, times = np.random.default_rng(0), np.linspace(1, 19, 48)
    footage = [Footage(f"{number:016x}", tuple((times * rng.uniform(1, 9)).tolist())) for number in range(30_000)]
    params = PretextParams(train=TrainSet(num_samples=sizes.num_samples))
    began = time.monotonic()
    build_train(params, footage)
    ours = (time.monotonic() - began) * 30_000 / sizes.num_samples
    unit = "seconds" if sizes.num_samples == 30_000 else f"seconds, from {sizes.num_samples}"
    return better("thirty_thousand", ours, theirs_seconds * 30_000 / 2, unit)


def compare_workers(work: Path, sizes: Sizes) -> list[Row]:
    """Videos a second with two workers and with one, start of the processes included."""
    source = _folder(f"many-{sizes.clip_seconds:g}s")
    for number in range(sizes.num_clips):
        make_clip(source / f"{number}.mp4", sizes.clip_seconds, 360, 640, seed=number)
    rates = []
    for workers in (1, 2):
        began = time.monotonic()
        our_way.ingest_and_store(source, work / f"workers-{workers}", FramesParams(verify_fraction=0.0), workers)
        rates.append(sizes.num_clips / (time.monotonic() - began))
    return [Row("two_workers", rates[1], rates[0], rates[1] / rates[0], "videos a second, 2 workers against 1")]


def _folder(name: str) -> Path:
    folder = FOOTAGE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _alone(video: Path, work: Path) -> Path:
    source = work / f"source-{video.stem}"
    source.mkdir()
    shutil.copy(video, source)
    return source


def _luma(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., 0].astype(np.float64)


COMPARISONS = (compare_ingest, compare_storage, compare_samples, compare_workers)
