"""The comparisons of `bench.data_path`; footage is kept in `work/bench/footage`."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from bench.footage import copy_in_other_bytes, make_clip, repeat
from bench.measure import Cost, cost, cpu_seconds, in_turns
from bench.pipelines import decode_only, frames_worker, ours, reference
from bench.rows import Row
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.decode import decode
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.pretext import Grounding
from videossr.records import FrameTimes

FOOTAGE = Path("work/bench/footage")
EXACT = FramesParams(verify_fraction=0.0)  # the published way checks nothing either
VARIANTS = ("mirror", "rotate_180", "channel_swap", "zoom_out")


@dataclass(frozen=True)
class Sizes:
    """How much is measured: figures are medians of up to `rounds`, both sides in turns."""

    clip_seconds: float
    part_seconds: float
    num_parts: int
    large_seconds: float
    num_clips: int
    num_samples: int
    rounds: int


FULL = Sizes(60, part_seconds=60, num_parts=30, large_seconds=10, num_clips=32, num_samples=30_000, rounds=5)
QUICK = Sizes(8, part_seconds=10, num_parts=12, large_seconds=2, num_clips=4, num_samples=3_000, rounds=1)


def better(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str) -> Row:
    """Medians, and how far the rounds lie apart."""
    told = ""
    if len(ours) > 1:
        ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
        told = f"; {len(ratios)} rounds, {min(ratios):.3g} to {max(ratios):.3g} times"
    return Row(name, median(ours), median(theirs), median(theirs) / median(ours), unit + told)


def compare_ingest(work: Path, sizes: Sizes) -> Iterator[Row]:
    clip = make_clip(_folder("720p") / f"{sizes.clip_seconds:g}s.mp4", sizes.clip_seconds, 720, 1280)
    part = make_clip(_folder("480p") / f"{sizes.part_seconds:g}s.mp4", sizes.part_seconds, 480, 854)
    minutes = round(sizes.part_seconds * sizes.num_parts / 60)
    long = repeat(part, _folder("480p") / f"{minutes}min.mp4", sizes.num_parts)
    large = make_clip(_folder("2160p") / f"{sizes.large_seconds:g}s.mp4", sizes.large_seconds, 2160, 3840)
    yield from _compare_clip(_alone(clip, work), work, sizes)
    ours, theirs = _both_ways(_alone(long, work), work, replace(EXACT, sampling="keyframes"), sizes)
    yield better("ingest_30min", _seconds(ours), _seconds(theirs), f"CPU-seconds, {long.stem} of video")
    source = _alone(large, work)
    _, theirs = _both_ways(source, work, EXACT, sizes)
    yield _worker_memory("worker_memory_4k", source, work, theirs)


def _compare_clip(source: Path, work: Path, sizes: Sizes) -> Iterator[Row]:
    """One clip: against the published way, against the least that decoding takes, and with a second reader."""
    (clip,) = source.iterdir()
    ours, theirs = _both_ways(source, work, EXACT, sizes)
    yield better("ingest_60s", _seconds(ours), _seconds(theirs), f"CPU-seconds, {clip.stem} of video")
    yield _worker_memory("worker_memory", source, work, theirs)
    their_side = partial(cost, partial(reference.ingest_all, source, work / f"theirs-{source.name}"))
    least, theirs = in_turns(partial(cost, partial(decode_only.decode, clip)), their_side, sizes.rounds)
    unit = "CPU-seconds, decoding the reference frames of the file and nothing else"
    yield better("ingest_60s_floor", _seconds(least), _seconds(theirs), unit)
    checked = partial(ours.ingest_and_store, source, work / "checked", replace(EXACT, verify_fraction=1.0))
    ours, theirs = in_turns(partial(cost, checked), their_side, sizes.rounds)
    unit = f"CPU-seconds, a second reader agrees: by default asked of {FramesParams().verify_fraction:.0%} of the files"
    yield better("ingest_60s_checked", _seconds(ours), _seconds(theirs), unit)


def _both_ways(source: Path, work: Path, params: FramesParams, sizes: Sizes) -> tuple[list[Cost], list[Cost]]:
    our_side = partial(ours.ingest_and_store, source, work / f"ours-{source.name}", params)
    their_side = partial(reference.ingest_all, source, work / f"theirs-{source.name}")
    return in_turns(partial(cost, our_side), partial(cost, their_side), sizes.rounds)


def _worker_memory(name: str, source: Path, work: Path, theirs: Sequence[Cost]) -> Row:
    videos = read_manifest(work / f"ours-{source.name}" / "manifest.parquet")
    ours = [cost(partial(frames_worker.encode, videos, EXACT)) for _ in theirs]
    return better(name, _megabytes(ours), _megabytes(theirs), "MB at the peak")


def _seconds(costs: Sequence[Cost]) -> list[float]:
    return [each.cpu_seconds for each in costs]


def _megabytes(costs: Sequence[Cost]) -> list[float]:
    return [each.peak_bytes / 1e6 for each in costs]


def compare_storage(work: Path, sizes: Sizes) -> Iterator[Row]:
    """On what `compare_ingest` left of the 720p clip."""
    ours, theirs = _left(work, sizes)
    video = read_manifest(ours / "manifest.parquet")[0]
    stored = FrameStore(ours / "frames")[video.video_id]
    exact = decode(Path(video.path), stored.times, size=stored.frames.shape[1:3])
    noise = [(_channels(a) - _channels(b)) ** 2 for a, b in zip(stored.frames, exact.frames, strict=True)]
    luma, *chroma = 10 * np.log10(255**2 / np.mean(noise, axis=(0, 1, 2)))
    size = sum(path.stat().st_size for path in (ours / "frames").iterdir())
    unit = f"bytes, ours at {luma:.1f} dB (colour {min(chroma):.1f})"
    yield better("bytes_per_video", [size], [reference.stored_bytes(theirs)], unit)


def compare_samples(work: Path, sizes: Sizes) -> Iterator[Row]:
    ours, theirs = _left(work, sizes)
    store, files = FrameStore(ours / "frames"), sorted(theirs.glob("frame_*.jpg"))
    task, footage = Grounding(), store.frame_times()[0]
    size = store[footage.video_id].frames.shape[1:3]
    samples = [task.generate(footage, VARIANTS[number % 4], np.random.default_rng(number)) for number in range(100)]
    new_bytes: list[float] = []

    def generate() -> None:
        for number in range(100):
            task.generate(footage, VARIANTS[number % 4], np.random.default_rng(number))

    def edit() -> None:
        new_bytes.extend(reference.edit(theirs, work / "edited", number) for number in range(4))

    def render() -> None:
        for sample in samples[:4]:
            task.render(sample, store)

    made = in_turns(lambda: cpu_seconds(generate) / 100, lambda: cpu_seconds(edit) / 4, 2 * sizes.rounds)
    yield better("sample_time", *made, "CPU-seconds a sample")
    sample_bytes = float(np.mean([len(json.dumps(asdict(sample))) for sample in samples]))
    yield better("sample_bytes", [sample_bytes], [float(np.mean(new_bytes))], "bytes a sample, before compression")
    loaded = in_turns(
        lambda: cpu_seconds(render) / 4, lambda: cpu_seconds(lambda: reference.load(files, size)), 2 * sizes.rounds
    )
    yield better("load_render", *loaded, "CPU-seconds a sample")
    yield thirty_thousand(sizes, median(made[1]))


def thirty_thousand(sizes: Sizes, theirs_seconds: float) -> Row:
    """VideoSSR-30K over a store that is only an index; theirs is what one sample took, on two cores."""
    rng, times = np.random.default_rng(0), np.linspace(1, 19, 48)
    footage = [FrameTimes(f"{number:016x}", tuple((times * rng.uniform(1, 9)).tolist())) for number in range(30_000)]
    params = PretextParams(train=TrainSet(num_samples=sizes.num_samples))
    ours = []
    for _ in range(min(3, sizes.rounds)):
        began = time.monotonic()
        build_train(params, footage, workers=2)
        ours.append((time.monotonic() - began) * 30_000 / sizes.num_samples)
    unit = "seconds" if sizes.num_samples == 30_000 else f"seconds, from {sizes.num_samples}"
    return better("thirty_thousand", ours, [theirs_seconds * 30_000 / 2] * len(ours), unit)


def compare_workers(work: Path, sizes: Sizes) -> Iterator[Row]:
    """Videos a second with two workers and with one, start of the processes included; and what the machine offers."""
    folder = _folder(f"360p-{sizes.num_clips}")
    clip = make_clip(_folder("360p") / f"{sizes.clip_seconds:g}s.mp4", sizes.clip_seconds, 360, 640)
    paths = [folder / f"{sizes.clip_seconds:g}s-{number}.mp4" for number in range(sizes.num_clips)]
    for number, path in enumerate(paths):
        copy_in_other_bytes(clip, path, number)

    def rate(workers: int) -> float:
        began = time.monotonic()
        ours.ingest_and_store(folder, work / "workers", FramesParams(verify_fraction=0.0), workers)
        return len(paths) / (time.monotonic() - began)

    rounds = min(3, sizes.rounds)
    yield _faster("two_workers", *in_turns(partial(rate, 2), partial(rate, 1), rounds))
    yield _faster("two_decoders", *in_turns(partial(_bare_rate, paths, 2), partial(_bare_rate, paths, 1), rounds))


def _bare_rate(paths: Sequence[Path], processes: int) -> float:
    """Videos a second where processes that have started do nothing but decode."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_only.decode, paths[:processes]))
        began = time.monotonic()
        list(pool.map(decode_only.decode, paths))
        return len(paths) / (time.monotonic() - began)


def _faster(name: str, two: Sequence[float], one: Sequence[float]) -> Row:
    ratios = [some / other for some, other in zip(two, one, strict=True)]
    unit = f"videos a second, 2 processes against 1; {min(ratios):.3g} to {max(ratios):.3g} times"
    return Row(name, median(two), median(one), median(two) / median(one), unit)


def _folder(name: str) -> Path:
    folder = FOOTAGE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _alone(video: Path, work: Path) -> Path:
    source = work / video.parent.name
    source.mkdir()
    shutil.copy(video, source)
    return source


def _left(work: Path, sizes: Sizes) -> tuple[Path, Path]:
    """What both sides stored of the 720p clip."""
    return work / "ours-720p", work / "theirs-720p" / f"{sizes.clip_seconds:g}s"


def _channels(frame: np.ndarray) -> np.ndarray:
    """Brightness and two of colour."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float64)


COMPARISONS = (compare_ingest, compare_storage, compare_samples, compare_workers)
