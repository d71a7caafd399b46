"""From stored videos to puzzles: the training set and VIUBench are two recipes of one generator.

A sample is a function of (seed, task, its parameters, variant, number, video id): neither the machine nor the order of
the work changes it. No puzzle is given twice.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
from tqdm import tqdm

from videossr.dataset.params import VIUBENCH, PretextParams
from videossr.dataset.samples import canonical_edit
from videossr.errors import SourceError
from videossr.parallel import Workers, parallel_map
from videossr.records import FrameTimes, Sample

log = logging.getLogger(__name__)

_TRIES = 20
_CHUNK = 256  # puzzles that are made in one go
# Fewer are made in this process: at a fifth of a millisecond each, starting others costs more than it saves.
_WORTH_PROCESSES = 10_000


@dataclass(frozen=True)
class _Chunk:
    """Puzzles of one kind: videos, and the numbers of the puzzles that each of them gives."""

    kind: str
    turns: list[tuple[FrameTimes, list[int]]]

    def __len__(self) -> int:
        return sum(len(numbers) for _, numbers in self.turns)


def build_train(params: PretextParams, footage: Sequence[FrameTimes], workers: Workers = 0) -> list[Sample]:
    """The training set, in random order, over the training videos, each used equally often.

    It is the same whatever `workers` are (see `videossr.parallel`). Where the videos do not offer so many different
    puzzles of a kind, there are fewer, and a warning says so. Raises SourceError where no video is long enough,
    ConfigError where the parameters contradict the stored frames.
    """
    return _build(params, footage, _shares(params.train.mixture, params.train.num_samples), "train", workers)


def build_viubench(params: PretextParams, footage: Sequence[FrameTimes], workers: Workers = 0) -> list[Sample]:
    """VIUBench over the videos held back for it, column by column (paper, section 4); else as `build_train`."""
    samples = _build(params, footage, dict.fromkeys(VIUBENCH, params.viubench.per_column), "viubench", workers)
    return sorted(samples, key=lambda sample: (VIUBENCH.index(sample.kind), sample.sample_id))


def _shares(mixture: Mapping[str, float], num_samples: int) -> dict[str, int]:
    """Whole numbers that sum to `num_samples`, by largest remainder; ties go to the kind named first."""
    total = sum(mixture.values())
    exact = {kind: num_samples * share / total for kind, share in mixture.items()}
    counts = {kind: int(share) for kind, share in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    for kind in by_remainder[: num_samples - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _build(
    params: PretextParams, footage: Sequence[FrameTimes], counts: Mapping[str, int], name: str, workers: Workers
) -> list[Sample]:
    kinds = [kind for kind, count in counts.items() if count]
    fit = _fit_for(params, kinds, footage, name)
    videos = iter(_turns(params.seed, name, fit, sum(counts.values())))
    turns = {kind: list(islice(videos, counts[kind])) for kind in kinds}
    made = _made(params, turns, [item.video_id for item in fit], name, workers)
    for kind, samples in made.items():
        if len(samples) < counts[kind]:
            told = name, len(samples), kind, counts[kind], len({video.video_id for video in turns[kind]})
            log.warning("%s: %d '%s' puzzles of %d: %d videos offer no more", *told)
    everything = [sample for samples in made.values() for sample in samples]
    order = _rng(params.seed, name, "order").permutation(len(everything))
    return [everything[i] for i in order]


def _fit_for(params: PretextParams, kinds: Sequence[str], footage: Sequence[FrameTimes], name: str) -> list[FrameTimes]:
    """The videos that every kind can use, ordered by id: the order in which they were found must not matter."""
    asked = [(params.tasks[task], variant) for task, variant in (kind.split("/") for kind in kinds)]
    fit = [item for item in footage if all(task.fits(item, variant) for task, variant in asked)]
    if not fit:
        raise SourceError(
            f"the {name} samples need a video that lasts long enough to name a part of it in tenths of a second, but "
            f"none of {len(footage)} does: add videos"
        )
    if len(fit) < len(footage):
        log.warning("%s: %d of %d videos are too short and left out", name, len(footage) - len(fit), len(footage))
    return sorted(fit, key=lambda item: item.video_id)


def _turns(seed: int, name: str, footage: Sequence[FrameTimes], count: int) -> list[FrameTimes]:
    """`count` videos: all of them in a random order, then all again in another, so that each serves equally often."""
    passes = range(-(-count // len(footage)))
    orders = [_rng(seed, name, "pass", number).permutation(len(footage)) for number in passes]
    return [footage[i] for order in orders for i in order][:count]


def _made(
    params: PretextParams, turns: Mapping[str, Sequence[FrameTimes]], donors: Sequence[str], name: str, workers: Workers
) -> dict[str, list[Sample]]:
    """By kind, one sample for each of its turns in their order, fewer where a video has no other left to give."""
    chunks = [chunk for kind, videos in turns.items() for chunk in _chunks(kind, videos)]
    total = sum(map(len, chunks))
    make = partial(_of_chunk, params=params, donors=donors, name=name)
    parts = parallel_map(make, chunks, workers if total >= _WORTH_PROCESSES else 0)
    numbered: dict[str, dict[int, Sample]] = {kind: {} for kind in turns}
    with tqdm(total=total, desc=f"{name} puzzles", unit="puzzle") as progress:
        for chunk, part in zip(chunks, parts, strict=True):
            numbered[chunk.kind].update(part)
            progress.update(len(chunk))
    return {kind: [samples[number] for number in sorted(samples)] for kind, samples in numbered.items()}


def _chunks(kind: str, videos: Sequence[FrameTimes]) -> Iterator[_Chunk]:
    """All turns of a video are in one chunk, which sees to it that no two of its puzzles are alike."""
    turns: dict[str, tuple[FrameTimes, list[int]]] = {}
    for number, video in enumerate(videos):
        turns.setdefault(video.video_id, (video, []))[1].append(number)
    step = max(1, _CHUNK * len(turns) // len(videos))
    each = list(turns.values())
    yield from (_Chunk(kind, each[first : first + step]) for first in range(0, len(each), step))


def _of_chunk(chunk: _Chunk, params: PretextParams, donors: Sequence[str], name: str) -> dict[int, Sample]:
    """Samples by number."""
    samples: dict[int, Sample] = {}
    for video, numbers in chunk.turns:
        taken: set[str] = set()
        for number in numbers:
            sample = _unlike(taken, params, video, donors, chunk.kind, number)
            if sample is not None:
                taken.add(canonical_edit(sample))
                samples[number] = replace(sample, sample_id=f"{name}/{chunk.kind}/{number:06d}")
    return samples


def _unlike(
    taken: AbstractSet[str], params: PretextParams, video: FrameTimes, donors: Sequence[str], kind: str, number: int
) -> Sample | None:
    """A puzzle whose edit none of `taken`, the edits of this video and kind, is."""
    task, variant = kind.split("/")
    for attempt in range(_TRIES):
        rng = _rng(params.seed, task, variant, number, video.video_id, attempt)
        sample = params.tasks[task].generate(video, variant, rng, donors)
        if canonical_edit(sample) not in taken:
            return sample
    return None


def _rng(*parts: str | int) -> np.random.Generator:
    """A generator seeded by a hash that is the same in every process and on every machine."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
