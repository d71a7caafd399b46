"""Two policies on the same questions: paired differences, and which questions changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from videossr.errors import BenchmarkError
from videossr.evaluation.benchmarks import Column, Item, Items, ItemScore, item_scores
from videossr.evaluation.benchmarks.scoring import PERCENT, Replies, Unit, score_units, unit_columns
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.evaluation.downstream.results import Record, column_record, group_records

RIGHT = 0.5  # an item is right from this value on: a right answer, an IoU of a half, half of the counts

_POINTS = (-100.0, 100.0)  # the interval of a difference over too few videos
_ITEM_METRICS = ("accuracy", "exact", "mIoU", "score")  # the value of one item is the first of these that it has


@dataclass(frozen=True)
class Flip:
    """An item that was right with one policy and wrong with the other; values in 0..1, replies None where none."""

    item: Item
    before: float
    after: float
    reply_before: str | None
    reply_after: str | None


@dataclass(frozen=True)
class Comparison:
    """`after` minus `before` on the same questions of a benchmark.

    `differences` are percentage points by metric, with 95 % intervals clustered by source video, paired by question;
    `groups` are those of each value of each group. `before` and `after` are the means in percent. `not_asked` counts
    the questions that neither policy was asked: they are left out.
    """

    key: str
    metric: str
    before: Mapping[str, Column]
    after: Mapping[str, Column]
    differences: Mapping[str, Column]
    groups: Mapping[str, Mapping[str, Mapping[str, Column]]]
    flips: tuple[Flip, ...]
    not_asked: int

    @property
    def turned_right(self) -> int:
        return sum(flip.after >= RIGHT for flip in self.flips)

    @property
    def turned_wrong(self) -> int:
        return len(self.flips) - self.turned_right

    @property
    def significant(self) -> bool:
        """Whether the interval of the benchmark's number excludes zero."""
        number = self.differences[self.metric]
        return number.low > 0 or number.high < 0

    def as_record(self) -> Record:
        """JSON: means, differences and groups as in `results`, and the counts of changed items."""
        return {
            "benchmark": self.key,
            "metric": self.metric,
            "before": {metric: column_record(column) for metric, column in self.before.items()},
            "after": {metric: column_record(column) for metric, column in self.after.items()},
            "differences": {metric: column_record(column) for metric, column in self.differences.items()},
            "groups": group_records(self.groups),
            "turned_right": self.turned_right,
            "turned_wrong": self.turned_wrong,
            "not_asked": self.not_asked,
            "significant": self.significant,
        }


def compare_evaluations(before: Evaluation, after: Evaluation, **arguments: Any) -> Comparison:
    """Compare two stored evaluations. Raises BenchmarkError where they do not answer the same questions."""
    if before.key != after.key:
        raise BenchmarkError(
            f"both files must hold replies to one benchmark, {before.path} is of {before.key} and {after.path} of "
            f"{after.key}: name two of the same"
        )
    one_sided = before.replies.keys() ^ after.replies.keys()
    if before.items.digest != after.items.digest or one_sided:
        where = f"{len(before.replies)} in {before.path} and {len(after.replies)} in {after.path}"
        example = f", '{min(one_sided)}' in one alone" if one_sided else ""
        raise BenchmarkError(
            f"a comparison needs replies to the same questions of {before.key}, got {where}{example}: evaluate both "
            "policies on the same questions"
        )
    return compare(before.items, before.replies, after.replies, **arguments)


def compare(items: Items, before: Replies, after: Replies, *, num_resamples: int = 2000, seed: int = 0) -> Comparison:
    """Compare the replies of two policies to the same items; questions that neither was asked are left out.

    Raises BenchmarkError where no question is left.
    """
    asked = [item for item in items if item.id in before or item.id in after]
    if not asked:
        raise BenchmarkError(f"a comparison needs a reply to at least one question of {items.benchmark.key}, got none")
    paired = items.benchmark.family == "paired"
    scored = [item_scores(asked, replies) for replies in (before, after)]
    units = [score_units(each, paired=paired) for each in scored]
    differences = [_difference(*pair) for pair in zip(*units, strict=True)]
    means = [unit_columns(each, num_resamples=num_resamples, seed=seed, value_range=PERCENT)[0] for each in units]
    points, groups = unit_columns(differences, num_resamples=num_resamples, seed=seed, value_range=_POINTS)
    flips = (
        Flip(one.item, item_value(one), item_value(two), before.get(one.item.id), after.get(one.item.id))
        for one, two in zip(*scored, strict=True)
    )
    return Comparison(
        key=items.benchmark.key,
        metric=items.benchmark.metric,
        before=means[0],
        after=means[1],
        differences=points,
        groups=groups,
        flips=tuple(flip for flip in flips if (flip.before >= RIGHT) != (flip.after >= RIGHT)),
        not_asked=len(items) - len(asked),
    )


def item_value(scored: ItemScore) -> float:
    """The value of an item in 0..1: of a choice its accuracy, of an order exact, of windows the IoU, else the score."""
    return next(scored.values[metric] for metric in _ITEM_METRICS if metric in scored.values)


def _difference(before: Unit, after: Unit) -> Unit:
    values = {metric: value - before.values[metric] for metric, value in after.values.items()}
    return Unit(after.item, values, before.parsed and after.parsed)
