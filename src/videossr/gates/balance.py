"""Is some answer given away by being right too often? Shares of answer classes against their fair share."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from videossr.gates import edits
from videossr.gates.tables import GateContext
from videossr.records import Sample

# How often chance may make a balanced set fail; the bound below is loose, so in truth more rarely.
CHANCE = 1e-4

_COLUMNS = ("name", "set", "kind", "what", "class", "num_answers", "share", "fair_share", "ratio", "proven_ratio")


def balance_table(sets: Mapping[str, Sequence[Sample]], source: GateContext) -> pd.DataFrame:
    """One row for each thing an answer says (see `edits.CLASSES`), with the class most over-represented in it.

    `ratio` is its share over its fair share, `proven_ratio` the part of it that chance does not explain.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    fair: dict[tuple[str, str, str], float] = {}
    for name, samples in sets.items():
        for sample in samples:
            for one in _classes(sample, source):
                key = (name, sample.kind, one.what)
                counts[key][one.label] += 1
                fair[key] = one.fair_share
    rows = [_worst(key, tally, fair[key]) for key, tally in sorted(counts.items())]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _classes(sample: Sample, source: GateContext) -> list[edits.AnswerClass]:
    if sample.kind not in source.kinds or sample.task not in edits.CLASSES:
        return []
    try:
        return list(edits.CLASSES[sample.task](sample, source.tasks[sample.task]))
    except edits.UNREADABLE:
        return []  # an unreadable edit is named by its own rule


def _worst(key: tuple[str, str, str], tally: Counter[str], fair_share: float) -> tuple[object, ...]:
    label, count = max(tally.items(), key=lambda item: (item[1], item[0]))
    total = sum(tally.values())
    ratio = count / total / fair_share
    proven_ratio = least_share(count, total, num_classes=1 / fair_share) / fair_share
    return (
        f"{' '.join(key[:2])}: {key[2]} {label}",
        *key,
        label,
        total,
        count / total,
        fair_share,
        ratio,
        proven_ratio,
    )


def least_share(count: int, total: int, num_classes: float) -> float:
    """The least true share of a class that plausibly gave it `count` of `total`: a lower confidence bound (Chernoff).

    Were the true share of every class at most this, one of the `num_classes` classes would get as many in fewer than
    one of 10,000 sets.
    """
    share, tolerated = count / total, math.log(num_classes / CHANCE) / total
    low, high = 0.0, share
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _divergence(share, middle) < tolerated else (middle, high)
    return low


def _divergence(share: float, supposed: float) -> float:
    """Kullback-Leibler divergence, in nats, of two coins that show heads with these shares (0 < supposed <= share)."""
    heads = share * math.log(share / supposed) if supposed > 0 else math.inf
    tails = (1 - share) * math.log((1 - share) / (1 - supposed)) if share < 1 else 0.0
    return heads + tails
