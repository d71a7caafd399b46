"""What can be scored on VIUBench without looking: the random guess of the paper, and the best constant answer.

The paper's random guess is a uniform count in 1..9 (easy) or 1..16 (hard), the whole video as the interval, and a
uniformly drawn order. A constant answer beats it (an interval in the middle scores about 31 instead of 25), so both are
reported: a policy has looked only when it beats the better of the two.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from videossr import rewards
from videossr.evaluation.viubench import COLUMNS
from videossr.pretext import PretextTask
from videossr.pretext.grounding import frame_edges
from videossr.records import FrameTimes, Sample

_LARGEST_COUNT = {"easy": 9, "hard": 16}
_GRID = 48  # a constant interval starts and ends on a 48th of the clip: the paper's frame grid
_EXAMPLES = 300  # as many as a column of the paper's VIUBench has questions

Clocks = Mapping[str, Sequence[float]]


def random_answers(samples: Sequence[Sample], footage: Sequence[FrameTimes], seed: int) -> list[str]:
    """The paper's random guess, one reply a sample: a function of (seed, sample id) and the video's clock."""
    clocks = _clocks(footage)
    return [
        _random_answer(sample, clocks, np.random.default_rng(_entropy(seed, sample.sample_id))) for sample in samples
    ]


def constant_answers(samples: Sequence[Sample], examples: Sequence[Sample], footage: Sequence[FrameTimes]) -> list[str]:
    """The one answer a column that scores best on `examples` of that task and variant, one reply a sample.

    A constant interval is a pair of fractions of the clip and is said in seconds of each clip. `footage` holds the
    clocks of the videos of both; `examples` are `training_examples`, never the questions themselves. Raises KeyError
    for a sample of a task and variant without an example.
    """
    clocks = _clocks(footage)
    by_column: dict[tuple[str, str], list[Sample]] = {}
    for example in examples:
        by_column.setdefault((example.task, example.variant), []).append(example)
    best = {column: _best_constant(column[0], rows, clocks) for column, rows in by_column.items()}
    return [_said(best[sample.task, sample.variant], sample, clocks) for sample in samples]


def training_examples(
    train: Sequence[Sample], train_footage: Sequence[FrameTimes], tasks: Mapping[str, PretextTask], seed: int
) -> list[Sample]:
    """The training samples of the nine columns, each column filled up to 300 by the task's own generator.

    `train_footage` are training videos only: a constant answer must not know the videos it is tried on.
    """
    examples: list[Sample] = []
    for task, variant in COLUMNS.values():
        present = [sample for sample in train if (sample.task, sample.variant) == (task, variant)]
        fitting = [footage for footage in train_footage if tasks[task].fits(footage, variant)]
        rng = np.random.default_rng(_entropy(seed, f"{task}/{variant}"))
        missing = range(len(present), _EXAMPLES if fitting else 0)
        examples += present
        examples += [tasks[task].generate(fitting[index % len(fitting)], variant, rng) for index in missing]
    return examples


def _clocks(footage: Sequence[FrameTimes]) -> Clocks:
    return {item.video_id: item.times for item in footage}


def _entropy(seed: int, name: str) -> list[int]:
    return [seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")]


def _random_answer(sample: Sample, clocks: Clocks, rng: np.random.Generator) -> str:
    if sample.task == "grounding":
        return _interval_said((0.0, 1.0), sample, clocks)
    if sample.task == "counting":
        counts = rng.integers(1, _LARGEST_COUNT[sample.variant] + 1, size=rewards.NUM_SHAPES)
        return ",".join(map(str, counts))
    return "".join(map(str, rng.permutation(len(sample.answer)) + 1))


def _best_constant(task: str, examples: Sequence[Sample], clocks: Clocks) -> str | tuple[float, float]:
    if task == "grounding":
        return _best_interval(np.array([_fractions(example, clocks) for example in examples]))
    if task == "counting":
        # The metric is a mean over the three shapes: the best triple is the commonest count of each.
        return ",".join(_commonest(counts) for counts in zip(*(e.answer.split(",") for e in examples), strict=True))
    return _commonest([example.answer for example in examples])


def _commonest(values: Sequence[str]) -> str:
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _best_interval(truths: NDArray[np.float64]) -> tuple[float, float]:
    """The grid interval of the highest mean IoU with `truths` [n, 2], all as fractions of the clip."""
    first, last = np.triu_indices(_GRID + 1, k=1)
    candidates = np.stack([first, last], axis=1)[:, None] / _GRID
    overlap = np.minimum(candidates[..., 1], truths[:, 1]) - np.maximum(candidates[..., 0], truths[:, 0])
    union = np.maximum(candidates[..., 1], truths[:, 1]) - np.minimum(candidates[..., 0], truths[:, 0])
    start, end = candidates[np.argmax(np.mean(np.clip(overlap, 0, None) / union, axis=1)), 0]
    return float(start), float(end)


def _fractions(sample: Sample, clocks: Clocks) -> tuple[float, float]:
    bounds = frame_edges(clocks[sample.video_id], sample.edit)
    place = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
    start, end = (float(bounds[i] - bounds[0]) / float(bounds[-1] - bounds[0]) for i in place)
    return start, end


def _said(constant: str | tuple[float, float], sample: Sample, clocks: Clocks) -> str:
    return constant if isinstance(constant, str) else _interval_said(constant, sample, clocks)


def _interval_said(fractions: tuple[float, float], sample: Sample, clocks: Clocks) -> str:
    bounds = frame_edges(clocks[sample.video_id], sample.edit)
    start, end = (float(bounds[0] + fraction * (bounds[-1] - bounds[0])) for fraction in fractions)
    return f"{start:.1f}-{end:.1f}"
