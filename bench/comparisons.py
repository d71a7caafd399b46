"""The comparisons of `bench.data_path`; its videos are kept in `work/bench/videos`."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from bench.measure import Cost, alternate, measure_cost, measure_cpu_seconds
from bench.pipelines import decode_only, frames_worker, ours, reference
from bench.rows import Row
from bench.videos import copy_with_other_hash, write_noisy_video, write_repeated
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.decode import decode
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.pretext import Grounding
from videossr.records import FrameTimes

VIDEOS = Path("work/bench/videos")
EXACT = FramesParams(verify_fraction=0.0)  # the reference pipeline does not verify either
VARIANTS = ("mirror", "rotate_180", "channel_swap", "zoom_out")


@dataclass(frozen=True)
class Sizes:
    """Lengths and counts of the measured videos and samples. Figures are medians of up to `rounds` rounds."""

    clip_seconds: float
    part_seconds: float
    num_parts: int
    large_seconds: float
    num_clips: int
    num_samples: int
    rounds: int


FULL = Sizes(60, part_seconds=60, num_parts=30, large_seconds=10, num_clips=32, num_samples=30_000, rounds=5)
QUICK = Sizes(8, part_seconds=10, num_parts=12, large_seconds=2, num_clips=4, num_samples=3_000, rounds=1)


def median_row(name: str, our_values: Sequence[float], their_values: Sequence[float], unit: str) -> Row:
    """A row of the medians of both sides; `unit` also gives the spread of the ratio over the rounds."""
    spread = ""
    if len(our_values) > 1:
        ratios = [theirs / ours for ours, theirs in zip(our_values, their_values, strict=True)]
        spread = f"; {len(ratios)} rounds, {min(ratios):.3g} to {max(ratios):.3g} times"
    our_median, their_median = median(our_values), median(their_values)
    return Row(name, our_median, their_median, their_median / our_median, unit + spread)


def compare_ingest(work: Path, sizes: Sizes) -> Iterator[Row]:
    """Time and memory of ingest and frames, for a 720p, a long 480p and a 4K video."""
    clip = write_noisy_video(VIDEOS / "720p" / f"{sizes.clip_seconds:g}s.mp4", sizes.clip_seconds, 720, 1280)
    part = write_noisy_video(VIDEOS / "480p" / f"{sizes.part_seconds:g}s.mp4", sizes.part_seconds, 480, 854)
    minutes = round(sizes.part_seconds * sizes.num_parts / 60)
    long = write_repeated(part, VIDEOS / "480p" / f"{minutes}min.mp4", sizes.num_parts)
    large = write_noisy_video(VIDEOS / "2160p" / f"{sizes.large_seconds:g}s.mp4", sizes.large_seconds, 2160, 3840)
    yield from _compare_clip(_copy_to_source(clip, work), work, sizes)
    source = _copy_to_source(long, work)
    ours_on_keyframes = _ours(source, work, replace(EXACT, sampling="keyframes"))
    our_costs, their_costs = _alternate_with_reference(ours_on_keyframes, source, work, sizes)
    unit = f"CPU-seconds, {long.stem} of video"
    yield median_row("ingest_30min", _seconds(our_costs), _seconds(their_costs), unit)
    source = _copy_to_source(large, work)
    _, their_costs = _alternate_with_reference(_ours(source, work, EXACT), source, work, sizes)
    yield _worker_memory_row("worker_memory_4k", source, work, their_costs)


def _compare_clip(source: Path, work: Path, sizes: Sizes) -> Iterator[Row]:
    """One video: ours, decoding alone, and ours with a second reader, each against the reference pipeline."""
    (clip,) = source.iterdir()
    our_costs, their_costs = _alternate_with_reference(_ours(source, work, EXACT), source, work, sizes)
    yield median_row("ingest_60s", _seconds(our_costs), _seconds(their_costs), f"CPU-seconds, {clip.stem} of video")
    yield _worker_memory_row("worker_memory", source, work, their_costs)

    decode_alone = partial(decode_only.decode_references, clip)
    our_costs, their_costs = _alternate_with_reference(decode_alone, source, work, sizes)
    unit = "CPU-seconds, decoding the reference frames of the file and nothing else"
    yield median_row("ingest_60s_floor", _seconds(our_costs), _seconds(their_costs), unit)

    verify_all = replace(EXACT, verify_fraction=1.0)
    with_verification = partial(ours.ingest_and_store, source, work / "checked", verify_all)
    our_costs, their_costs = _alternate_with_reference(with_verification, source, work, sizes)
    unit = (
        f"CPU-seconds, a second reader verifies; by default it does for {FramesParams().verify_fraction:.0%} of files"
    )
    yield median_row("ingest_60s_checked", _seconds(our_costs), _seconds(their_costs), unit)


def _ours(source: Path, work: Path, params: FramesParams) -> Callable[[], None]:
    """Our pipeline on `source`; its output stays in `work`."""
    return partial(ours.ingest_and_store, source, work / f"ours-{source.name}", params)


def _alternate_with_reference(
    run_ours: Callable[[], None], source: Path, work: Path, sizes: Sizes
) -> tuple[list[Cost], list[Cost]]:
    """Costs of `run_ours` and of the reference pipeline on `source`, whose output stays in `work`."""
    run_reference = partial(reference.ingest_all, source, work / f"theirs-{source.name}")
    return alternate(partial(measure_cost, run_ours), partial(measure_cost, run_reference), sizes.rounds)


def _worker_memory_row(name: str, source: Path, work: Path, their_costs: Sequence[Cost]) -> Row:
    videos = read_manifest(work / f"ours-{source.name}" / "manifest.parquet")
    our_costs = [measure_cost(partial(frames_worker.encode_all, videos, EXACT)) for _ in their_costs]
    return median_row(name, _megabytes(our_costs), _megabytes(their_costs), "MB at the peak")


def _seconds(costs: Sequence[Cost]) -> list[float]:
    return [cost.cpu_seconds for cost in costs]


def _megabytes(costs: Sequence[Cost]) -> list[float]:
    return [cost.peak_bytes / 1e6 for cost in costs]


def compare_storage(work: Path, sizes: Sizes) -> Iterator[Row]:
    """Bytes of the stored 720p video of `compare_ingest`, and the error of our JPEG files in decibels."""
    our_folder, their_folder = _stored_clip(work, sizes)
    video = read_manifest(our_folder / "manifest.parquet")[0]
    stored = FrameStore(our_folder / "frames")[video.video_id]
    exact = decode(Path(video.path), stored.times, size=stored.frames.shape[1:3])
    errors = [(_ycrcb(a) - _ycrcb(b)) ** 2 for a, b in zip(stored.frames, exact.frames, strict=True)]
    luma, *chroma = 10 * np.log10(255**2 / np.mean(errors, axis=(0, 1, 2)))
    size = sum(path.stat().st_size for path in (our_folder / "frames").iterdir())
    unit = f"bytes, ours at {luma:.1f} dB (colour {min(chroma):.1f})"
    yield median_row("bytes_per_video", [size], [reference.stored_bytes(their_folder)], unit)


def compare_samples(work: Path, sizes: Sizes) -> Iterator[Row]:
    """Time and bytes of a new sample of a stored video, and the time to load and render it."""
    our_folder, their_folder = _stored_clip(work, sizes)
    store, files = FrameStore(our_folder / "frames"), sorted(their_folder.glob("frame_*.jpg"))
    task, frame_times = Grounding(), store.frame_times()[0]
    size = store[frame_times.video_id].frames.shape[1:3]
    samples = [task.generate(frame_times, VARIANTS[i % 4], np.random.default_rng(i)) for i in range(100)]
    edited_bytes: list[float] = []

    def generate() -> None:
        for i in range(100):
            task.generate(frame_times, VARIANTS[i % 4], np.random.default_rng(i))

    def write_edited() -> None:
        edited_bytes.extend(reference.write_edited(their_folder, work / "edited", i) for i in range(4))

    def render() -> None:
        for sample in samples[:4]:
            task.render(sample, store)

    def load() -> None:
        reference.load_frames(files, size)

    rounds = 2 * sizes.rounds
    our_seconds, their_seconds = alternate(
        lambda: measure_cpu_seconds(generate) / 100, lambda: measure_cpu_seconds(write_edited) / 4, rounds
    )
    yield median_row("sample_time", our_seconds, their_seconds, "CPU-seconds a sample")
    sample_bytes = float(np.mean([len(json.dumps(asdict(sample))) for sample in samples]))
    unit = "bytes a sample, before compression"
    yield median_row("sample_bytes", [sample_bytes], [float(np.mean(edited_bytes))], unit)
    load_seconds = alternate(lambda: measure_cpu_seconds(render) / 4, lambda: measure_cpu_seconds(load), rounds)
    yield median_row("load_render", *load_seconds, "CPU-seconds a sample")
    yield _full_dataset_row(sizes, median(their_seconds))


def _full_dataset_row(sizes: Sizes, their_sample_seconds: float) -> Row:
    """30,000 samples of 30,000 videos, as in VideoSSR-30K. Our store is an index alone.

    The seconds of the reference pipeline are those of one sample, times 30,000, on two cores.
    """
    rng, times = np.random.default_rng(0), np.linspace(1, 19, 48)
    videos = [FrameTimes(f"{i:016x}", tuple((times * rng.uniform(1, 9)).tolist())) for i in range(30_000)]
    params = PretextParams(train=TrainSet(num_samples=sizes.num_samples))
    our_seconds = []
    for _ in range(min(3, sizes.rounds)):
        start = time.monotonic()
        build_train(params, videos, workers=2)
        our_seconds.append((time.monotonic() - start) * 30_000 / sizes.num_samples)
    unit = "seconds" if sizes.num_samples == 30_000 else f"seconds, from {sizes.num_samples}"
    their_seconds = [their_sample_seconds * 30_000 / 2] * len(our_seconds)
    return median_row("thirty_thousand", our_seconds, their_seconds, unit)


def compare_workers(work: Path, sizes: Sizes) -> Iterator[Row]:
    """Videos a second with two workers and with one, including the start of the processes.

    The second row is the same for processes that only decode: the largest gain from a second process on this machine.
    """
    clip = write_noisy_video(VIDEOS / "360p" / f"{sizes.clip_seconds:g}s.mp4", sizes.clip_seconds, 360, 640)
    folder = VIDEOS / f"360p-{sizes.num_clips}"
    paths = [
        copy_with_other_hash(clip, folder / f"{sizes.clip_seconds:g}s-{number}.mp4", number)
        for number in range(sizes.num_clips)
    ]

    def our_rate(workers: int) -> float:
        start = time.monotonic()
        ours.ingest_and_store(folder, work / "workers", EXACT, workers)
        return len(paths) / (time.monotonic() - start)

    decode_rate = partial(_decode_rate, paths)
    rounds = min(3, sizes.rounds)
    yield _speedup_row("two_workers", *alternate(partial(our_rate, 2), partial(our_rate, 1), rounds))
    yield _speedup_row("two_decoders", *alternate(partial(decode_rate, 2), partial(decode_rate, 1), rounds))


def _decode_rate(paths: Sequence[Path], processes: int) -> float:
    """Videos a second of processes that only decode, not counting their start."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_only.decode_references, paths[:processes]))
        start = time.monotonic()
        list(pool.map(decode_only.decode_references, paths))
        return len(paths) / (time.monotonic() - start)


def _speedup_row(name: str, two: Sequence[float], one: Sequence[float]) -> Row:
    """A row of two processes against one, from videos a second."""
    ratios = [with_two / with_one for with_two, with_one in zip(two, one, strict=True)]
    unit = f"videos a second, 2 processes against 1; {min(ratios):.3g} to {max(ratios):.3g} times"
    return Row(name, median(two), median(one), median(two) / median(one), unit)


def _copy_to_source(video: Path, work: Path) -> Path:
    """A source folder in `work` that holds a copy of this video alone; it is named by the video's height."""
    source = work / video.parent.name
    source.mkdir()
    shutil.copy(video, source)
    return source


def _stored_clip(work: Path, sizes: Sizes) -> tuple[Path, Path]:
    """The folders in which both sides stored the 720p video."""
    return work / "ours-720p", work / "theirs-720p" / f"{sizes.clip_seconds:g}s"


def _ycrcb(frame: np.ndarray) -> np.ndarray:
    """Brightness and two colour channels, float64 [H, W, 3]."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float64)


COMPARISONS = (compare_ingest, compare_storage, compare_samples, compare_workers)
