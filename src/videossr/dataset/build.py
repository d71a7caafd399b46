"""Build the training set and VIUBench from the frame times of the stored videos.

A sample is a function of (seed, task, parameters, variant, number, video id): neither the machine nor the order of the
work changes it. No two samples of a video have the same task, variant and edit.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from videossr.clip import Clip
from videossr.dataset.differences import Differences
from videossr.dataset.draws import rng_of
from videossr.dataset.params import VIUBENCH, PretextParams
from videossr.dataset.samples import canonical_edit
from videossr.dataset.visible import redraw_invisible
from videossr.errors import SourceError
from videossr.parallel import Workers, parallel_map
from videossr.records import FrameTimes, Sample

log = logging.getLogger(__name__)

_MAX_ATTEMPTS = 20
_SAMPLES_PER_CHUNK = 256
# A sample takes a fifth of a millisecond: for fewer samples, starting worker processes costs more time than it saves.
_MIN_SAMPLES_FOR_WORKERS = 10_000


@dataclass(frozen=True)
class _Chunk:
    """Work for one process: samples of one kind, as videos and the numbers of the samples to draw from each."""

    kind: str
    assignments: list[tuple[FrameTimes, list[int]]]

    def __len__(self) -> int:
        return sum(len(numbers) for _, numbers in self.assignments)


def build_train(params: PretextParams, videos: Sequence[FrameTimes], workers: Workers = 0) -> list[Sample]:
    """The training set, in random order, each of the training `videos` used equally often.

    `workers` does not change the result (see `videossr.parallel`). If the videos do not allow enough different samples
    of a kind, the set is smaller and a warning is logged. Raises SourceError if no video is long enough, ConfigError if
    the parameters contradict the number of stored frames.
    """
    counts = _counts_by_kind(params.train.mixture, params.train.num_samples)
    return _build(params, videos, counts, "train", workers)


def build_viubench(
    params: PretextParams,
    videos: Sequence[FrameTimes],
    workers: Workers = 0,
    store: Mapping[str, Clip] | None = None,
    journal: Path | None = None,
) -> list[Sample]:
    """VIUBench over the benchmark `videos`, ordered by column (paper, section 4); otherwise as `build_train`.

    With the `store` of their frames, questions that cannot be answered from the video are drawn again (`visible`). With
    a `journal` of that store, a call that was killed continues.
    """
    samples = _build(params, videos, dict.fromkeys(VIUBENCH, params.viubench.per_column), "viubench", workers)
    if store is not None and params.viubench.min_difference > 0:
        differences = Differences(params.tasks, store, workers, journal)
        samples = redraw_invisible(params, samples, _usable_videos(params, VIUBENCH, videos), differences)
    return sorted(samples, key=lambda sample: (VIUBENCH.index(sample.kind), sample.sample_id))


def _counts_by_kind(mixture: Mapping[str, float], num_samples: int) -> dict[str, int]:
    """Integers that sum to `num_samples`, by largest remainder; the kind that is named first wins a tie."""
    total = sum(mixture.values())
    exact = {kind: num_samples * share / total for kind, share in mixture.items()}
    counts = {kind: int(share) for kind, share in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    for kind in by_remainder[: num_samples - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _build(
    params: PretextParams, videos: Sequence[FrameTimes], counts: Mapping[str, int], set_name: str, workers: Workers
) -> list[Sample]:
    kinds = [kind for kind, count in counts.items() if count]
    usable = _usable_videos(params, kinds, videos)
    if not usable:
        raise SourceError(
            f"the {set_name} samples need a video long enough for an interval in tenths of a second, but none of "
            f"{len(videos)} is: add videos"
        )
    if len(usable) < len(videos):
        log.warning("%s: %d of %d videos are too short and not used", set_name, len(videos) - len(usable), len(videos))
    sequence = iter(_video_sequence(params.seed, set_name, usable, sum(counts.values())))
    assigned = {kind: list(islice(sequence, counts[kind])) for kind in kinds}
    by_kind = _generate_all(params, assigned, [video.video_id for video in usable], set_name, workers)
    for kind, samples in by_kind.items():
        if len(samples) < counts[kind]:
            num_videos = len({video.video_id for video in assigned[kind]})
            wanted = f"{counts[kind]} '{kind}' samples"
            log.warning("%s: only %d of %s: %d videos allow no more", set_name, len(samples), wanted, num_videos)
    everything = [sample for samples in by_kind.values() for sample in samples]
    order = rng_of(params.seed, set_name, "order").permutation(len(everything))
    return [everything[i] for i in order]


def _usable_videos(params: PretextParams, kinds: Sequence[str], videos: Sequence[FrameTimes]) -> list[FrameTimes]:
    """The videos that fit every kind, sorted by id: the order of `videos` must not change a sample."""
    variants = [(params.tasks[task], variant) for task, variant in (kind.split("/") for kind in kinds)]
    usable = [video for video in videos if all(task.fits(video, variant) for task, variant in variants)]
    return sorted(usable, key=lambda video: video.video_id)


def _video_sequence(seed: int, set_name: str, videos: Sequence[FrameTimes], count: int) -> list[FrameTimes]:
    """`count` videos: passes over all of them, each in a new random order, so that each video is used equally often."""
    passes = range(-(-count // len(videos)))
    orders = [rng_of(seed, set_name, "pass", number).permutation(len(videos)) for number in passes]
    return [videos[i] for order in orders for i in order][:count]


def _generate_all(
    params: PretextParams,
    assigned: Mapping[str, Sequence[FrameTimes]],
    donors: Sequence[str],
    set_name: str,
    workers: Workers,
) -> dict[str, list[Sample]]:
    """For each kind, one sample for each assigned video, in order; fewer if a video allows no further sample."""
    chunks = [chunk for kind, videos in assigned.items() for chunk in _chunks(kind, videos)]
    total = sum(map(len, chunks))
    generate = partial(_generate_chunk, params=params, donors=donors, set_name=set_name)
    results = parallel_map(generate, chunks, workers if total >= _MIN_SAMPLES_FOR_WORKERS else 0)
    by_number: dict[str, dict[int, Sample]] = {kind: {} for kind in assigned}
    with tqdm(total=total, desc=f"{set_name} samples", unit="sample") as progress:
        for chunk, samples in zip(chunks, results, strict=True):
            by_number[chunk.kind].update(samples)
            progress.update(len(chunk))
    return {kind: [samples[number] for number in sorted(samples)] for kind, samples in by_number.items()}


def _chunks(kind: str, videos: Sequence[FrameTimes]) -> Iterator[_Chunk]:
    """Split the work. All samples of a video are in one chunk, so that one process can compare their edits."""
    by_video: dict[str, tuple[FrameTimes, list[int]]] = {}
    for number, video in enumerate(videos):
        by_video.setdefault(video.video_id, (video, []))[1].append(number)
    videos_per_chunk = max(1, _SAMPLES_PER_CHUNK * len(by_video) // len(videos))
    assignments = list(by_video.values())
    for first in range(0, len(assignments), videos_per_chunk):
        yield _Chunk(kind, assignments[first : first + videos_per_chunk])


def _generate_chunk(chunk: _Chunk, params: PretextParams, donors: Sequence[str], set_name: str) -> dict[int, Sample]:
    """The samples of a chunk by number."""
    samples: dict[int, Sample] = {}
    for video, numbers in chunk.assignments:
        used_edits: set[str] = set()
        for number in numbers:
            sample = _generate_new(used_edits, params, video, donors, chunk.kind, number)
            if sample is not None:
                used_edits.add(canonical_edit(sample))
                samples[number] = replace(sample, sample_id=f"{set_name}/{chunk.kind}/{number:06d}")
    return samples


def _generate_new(
    used_edits: AbstractSet[str],
    params: PretextParams,
    video: FrameTimes,
    donors: Sequence[str],
    kind: str,
    number: int,
) -> Sample | None:
    """A sample whose edit differs from all `used_edits` of this video and kind; None after 20 attempts."""
    task, variant = kind.split("/")
    for attempt in range(_MAX_ATTEMPTS):
        rng = rng_of(params.seed, task, variant, number, video.video_id, attempt)
        sample = params.tasks[task].generate(video, variant, rng, donors)
        if canonical_edit(sample) not in used_edits:
            return sample
    return None
