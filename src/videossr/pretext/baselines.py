"""What the smooth rewards pay an answerer who never looks: skill begins above it.

The floor of a kind of puzzle is the mean smooth reward of the one constant answer that pays best on the given samples.
With the paper's parameters: grounding 0.31, counting 0.58, jigsaw 0.35.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from videossr import rewards
from videossr.records import Sample

_MOST = 400  # samples of a kind that are looked at: the floor then stands to about a hundredth


def blind_floors(samples: Sequence[Sample]) -> dict[str, float]:
    """The floor of each task that `samples` hold, over its variants as they are mixed there.

    A constant interval is a pair of fractions of the clip, in steps of its shown frames.
    """
    kinds: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        kinds[sample.task, sample.variant].append(sample)
    paid: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for (task, _), alike in kinds.items():
        paid[task].append((_FLOORS[task](alike[:_MOST]), len(alike)))
    return {task: sum(f * n for f, n in parts) / sum(n for _, n in parts) for task, parts in paid.items()}


def _grounding_floor(samples: Sequence[Sample]) -> float:
    num_frames = max(sample.edit["num_frames"] for sample in samples)
    truths = [
        (edit["start"] / edit["num_frames"], (edit["start"] + edit["length"]) / edit["num_frames"])
        for edit in (sample.edit for sample in samples)
    ]
    grid = [place / num_frames for place in range(num_frames + 1)]
    constants = [(start, end) for i, start in enumerate(grid) for end in grid[i + 1 :]]
    return _best(_mean(rewards.interval_iou(constant, truth) for truth in truths) for constant in constants)


def _counting_floor(samples: Sequence[Sample]) -> float:
    # The three shapes are drawn alike, so one number serves for all of them.
    most = max(int(count) for sample in samples for count in sample.answer.split(","))
    return _best(_paid("counting", f"{count},{count},{count}", samples) for count in range(most + 1))


def _jigsaw_floor(samples: Sequence[Sample]) -> float:
    # Every order is as likely as another, so any pays the same: the average over a few is surer than the luckiest.
    tried = sorted({sample.answer for sample in samples})[:20]
    return _mean(_paid("jigsaw", order, samples) for order in tried)


def _paid(task: str, constant: str, samples: Sequence[Sample]) -> float:
    return _mean(rewards.score(task, constant, sample.answer) for sample in samples)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _best(values: Iterable[float]) -> float:
    return max(values)


_FLOORS: dict[str, Callable[[Sequence[Sample]], float]] = {
    "grounding": _grounding_floor,
    "counting": _counting_floor,
    "jigsaw": _jigsaw_floor,
}
