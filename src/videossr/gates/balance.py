"""Is some answer given away by being right too often? Shares of answer classes against their fair share."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from videossr.gates import edits
from videossr.gates.tables import Source, kind_of
from videossr.records import Sample

# A fair draw passes for unfair once in this many sets; the bound below is loose, so in truth more rarely.
CHANCE = 1e-4

_COLUMNS = ("name", "set", "kind", "what", "class", "num_answers", "share", "fair_share", "ratio", "excess")


def balance_table(sets: Mapping[str, Sequence[Sample]], source: Source) -> pd.DataFrame:
    """One row for each thing an answer says (see `edits.CLASSES`), with the class most over-represented in it.

    `ratio` is its share over its fair share; `excess` is the ratio where chance cannot explain it, else at most 1.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    fair: dict[tuple[str, str, str], float] = {}
    for name, samples in sets.items():
        for sample in samples:
            for one in _classes(sample, source):
                key = (name, kind_of(sample), one.what)
                counts[key][one.label] += 1
                fair[key] = one.fair_share
    rows = [_worst(key, tally, fair[key]) for key, tally in sorted(counts.items())]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _classes(sample: Sample, source: Source) -> list[edits.AnswerClass]:
    if kind_of(sample) not in source.kinds or sample.task not in edits.CLASSES:
        return []
    try:
        return list(edits.CLASSES[sample.task](sample, source.tasks[sample.task]))
    except (KeyError, IndexError, TypeError, ValueError):
        return []  # an unreadable edit is named by its own rule


def _worst(key: tuple[str, str, str], tally: Counter[str], fair_share: float) -> tuple[object, ...]:
    label, count = max(tally.items(), key=lambda item: (item[1], item[0]))
    total = sum(tally.values())
    share = count / total
    ratio = share / fair_share
    excess = ratio if chance_of(count, total, fair_share) < CHANCE else min(ratio, 1.0)
    return (f"{' '.join(key[:2])}: {key[2]} {label}", *key, label, total, share, fair_share, ratio, excess)


def chance_of(count: int, total: int, fair_share: float) -> float:
    """Upper bound (Chernoff) of the chance that any class of a fair draw of `total` gets `count` or more."""
    share = count / total
    if share <= fair_share:
        return 1.0
    divergence = share * math.log(share / fair_share)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - fair_share))
    return min(1.0, math.exp(-total * divergence) / fair_share)
