"""The best constant answer to a kind of sample, and its reward: what a policy can score without seeing the video.

The blind floor of a task is the mean smooth reward of that answer; training counts reward above it as skill. With the
paper's parameters: grounding 0.31, counting 0.58, jigsaw 0.35.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from videossr import rewards
from videossr.records import Sample
from videossr.rewards import Interval

Candidate = TypeVar("Candidate")
Answer = TypeVar("Answer")

_MAX_SAMPLES = 400  # samples read for each kind: the floor is then known to about a hundredth
_NUM_ORDERS = 20


def best_constant(
    candidates: Iterable[Candidate], answers: Sequence[Answer], score: Callable[[Candidate, Answer], float]
) -> tuple[Candidate, float]:
    """The candidate with the highest mean score over all `answers`, and that mean. The first candidate wins a tie."""
    means = ((candidate, _mean_score(candidate, answers, score)) for candidate in candidates)
    return max(means, key=lambda candidate_and_mean: candidate_and_mean[1])


def best_interval(candidates: Sequence[Interval], answers: Sequence[Interval]) -> tuple[Interval, float]:
    """`best_constant` with `rewards.interval_iou`, all pairs at once. Every answer must be longer than zero."""
    starts, ends = np.array(candidates).T[..., None]
    answer_starts, answer_ends = np.array(answers).T
    overlaps = np.clip(np.minimum(ends, answer_ends) - np.maximum(starts, answer_starts), 0, None)
    unions = np.maximum(ends, answer_ends) - np.minimum(starts, answer_starts)
    means = (overlaps / unions).mean(axis=1)
    best = int(means.round(12).argmax())  # the first of those that are equal but for rounding
    return candidates[best], float(means[best])


def grid_intervals(num_steps: int) -> list[Interval]:
    """Every interval that starts and ends on a multiple of 1 / num_steps of the clip, as (start, end) fractions."""
    grid = [step / num_steps for step in range(num_steps + 1)]
    return [(start, end) for i, start in enumerate(grid) for end in grid[i + 1 :]]


def blind_floors(samples: Sequence[Sample]) -> dict[str, float]:
    """The blind floor of each task: the mean over its variants, weighted by their numbers of samples."""
    by_kind: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_kind[sample.task, sample.variant].append(sample)
    floors: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for (task, _), same_kind in by_kind.items():
        floors[task].append((_FLOORS[task](same_kind[:_MAX_SAMPLES]), len(same_kind)))
    return {
        task: sum(floor * count for floor, count in pairs) / sum(count for _, count in pairs)
        for task, pairs in floors.items()
    }


def _grounding_floor(samples: Sequence[Sample]) -> float:
    edits = [sample.edit for sample in samples]
    answers = [
        (edit["start"] / edit["num_frames"], (edit["start"] + edit["length"]) / edit["num_frames"]) for edit in edits
    ]
    candidates = grid_intervals(max(edit["num_frames"] for edit in edits))
    return best_interval(candidates, answers)[1]


def _counting_floor(samples: Sequence[Sample]) -> float:
    # The counts of the three shapes have the same distribution, so one number serves for all three.
    answers = [sample.answer for sample in samples]
    largest = max(int(count) for answer in answers for count in answer.split(","))
    candidates = [f"{count},{count},{count}" for count in range(largest + 1)]
    return best_constant(candidates, answers, partial(rewards.score, "counting"))[1]


def _jigsaw_floor(samples: Sequence[Sample]) -> float:
    # All orders are equally likely and have the same expected reward. The mean over several of them estimates it better
    # than the best one, which is best by chance.
    answers = [sample.answer for sample in samples]
    orders = sorted(set(answers))[:_NUM_ORDERS]
    means = [_mean_score(order, answers, partial(rewards.score, "jigsaw")) for order in orders]
    return sum(means) / len(means)


def _mean_score(candidate: Candidate, answers: Sequence[Answer], score: Callable[[Candidate, Answer], float]) -> float:
    return sum(score(candidate, answer) for answer in answers) / len(answers)


_FLOORS: dict[str, Callable[[Sequence[Sample]], float]] = {
    "grounding": _grounding_floor,
    "counting": _counting_floor,
    "jigsaw": _jigsaw_floor,
}
