"""The balance of answers: no class may be so frequent that a constant guess scores well."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd
from scipy.stats import beta

from videossr.gates import edit_rules
from videossr.gates.tables import GateContext
from videossr.records import Sample

# The highest probability with which chance alone may fail the answers of a balanced set.
CHANCE = 1e-4

_COLUMNS = (
    "name", "set", "kind", "aspect", "class", "num_answers", "share", "fair_share", "ratio", "ratio_lower_bound",
)  # fmt: skip


def balance_table(sets: Mapping[str, Sequence[Sample]], context: GateContext) -> pd.DataFrame:
    """One row for each set, kind and aspect of an answer (see `edit_rules.CLASSES`): its most frequent class.

    `ratio` is the share of the class divided by its fair share, `ratio_lower_bound` its lower confidence bound.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    fair_shares: dict[tuple[str, str, str], float] = {}
    for name, samples in sets.items():
        for sample in samples:
            for answer_class in _answer_classes(sample, context):
                key = (name, sample.kind, answer_class.aspect)
                counts[key][answer_class.value] += 1
                fair_shares[key] = answer_class.fair_share
    rows = [_largest_class(key, class_counts, fair_shares[key]) for key, class_counts in sorted(counts.items())]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _answer_classes(sample: Sample, context: GateContext) -> list[edit_rules.AnswerClass]:
    if sample.kind not in context.kinds or sample.task not in edit_rules.CLASSES:
        return []
    try:
        return list(edit_rules.CLASSES[sample.task](sample, context.tasks[sample.task]))
    except edit_rules.UNREADABLE:
        return []  # another rule reports an unreadable edit


def _largest_class(key: tuple[str, str, str], counts: Counter[str], fair_share: float) -> tuple[object, ...]:
    value, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    total = counts.total()
    set_name, kind, aspect = key
    return (
        f"{set_name} {kind}: {aspect} {value}",
        *key,
        value,
        total,
        count / total,
        fair_share,
        count / total / fair_share,
        lower_share_bound(count, total, num_classes=1 / fair_share) / fair_share,
    )


def lower_share_bound(count: int, total: int, num_classes: float) -> float:
    """The lower confidence bound (Clopper-Pearson) of the true share of a class with `count` of `total` answers.

    If no class has a larger true share than this, at most one of 10,000 sets has a class with `count` answers or more:
    the probability CHANCE is divided by `num_classes` (Bonferroni).
    """
    return float(beta.ppf(CHANCE / num_classes, count, total - count + 1))
