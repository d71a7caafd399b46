"""The results of the benchmarks as records for files and pages: pure functions of items and replies.

The record of a benchmark and a policy is JSON. Means are percent, rounded to four places:

    {"benchmark": "mvbench", "title": "MVBench", "paper_group": "general", "metric": "accuracy",
     "counts": {"questions", "missing", "asked", "failed", "answered", "parsed"}, "coverage": 99.5,
     "columns": {"accuracy": {"mean": 66.9, "ci95": [65.1, 68.7], "units": 4000, "videos": 3687}},
     "parsed_means": {"accuracy": 67.2},
     "groups": {"task": {"action_count": {"accuracy": {"mean", "ci95", "units", "videos"}}}},
     "chance": {"accuracy": 28.3}}

`columns[metric]` is the number of the benchmark: its mean over all questions, with an interval clustered by source
video. `parsed_means` is over those whose reply could be read. `units` counts questions, or pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from videossr.evaluation.benchmarks import BENCHMARKS, Column, Items, score
from videossr.evaluation.benchmarks.entries import PaperGroup
from videossr.evaluation.benchmarks.scoring import Replies

Record = dict[str, Any]

PAPER_GROUPS: tuple[str, ...] = get_args(PaperGroup)


@dataclass(frozen=True)
class GroupMean:
    """The mean number of the benchmarks of a group that were run: percent over `run` of `of` benchmarks.

    None where none was run. A mean over a part of a group is comparable only with one over the same part.
    """

    mean: float | None
    run: int
    of: int


def summarise(items: Items, replies: Replies, *, num_resamples: int = 2000, seed: int = 0) -> Record:
    """The record of the replies of one policy to a benchmark; `replies` as `benchmarks.score` takes them.

    Raises ValueError where there is no item, or a reply belongs to none.
    """
    result = score(items, replies, num_resamples=num_resamples, seed=seed)
    return {
        "benchmark": items.benchmark.key,
        "title": items.benchmark.title,
        "paper_group": items.benchmark.paper_group,
        "metric": result.metric,
        "counts": asdict(result.counts),
        "coverage": round(result.counts.coverage, 4),
        "columns": {metric: column_record(column) for metric, column in result.columns.items()},
        "parsed_means": _rounded(result.parsed_means),
        "groups": group_records(result.groups),
        "chance": _rounded(result.chance),
    }


def column_record(column: Column) -> Record:
    """A column as JSON: its mean, 95 % interval, and what they are over."""
    return {
        "mean": round(column.mean, 4),
        "ci95": [round(column.low, 4), round(column.high, 4)],
        "units": column.units,
        "videos": column.videos,
    }


def group_records(groups: Mapping[str, Mapping[str, Mapping[str, Column]]]) -> Record:
    """The columns of each value of each group as JSON."""
    return {
        group: {
            value: {metric: column_record(column) for metric, column in columns.items()}
            for value, columns in values.items()
        }
        for group, values in groups.items()
    }


def published_numbers(column: str) -> dict[str, float]:
    """The paper's numbers in percent, by benchmark: `column` is `base` or `videossr` with its frames, as `base_32`.

    VIUBench was measured at 48 frames alone: its number stands in every column of its model.
    """
    model = column.split("_")[0]
    numbers = {}
    for key, entry in BENCHMARKS.items():
        scores = entry.published.get(column) or (entry.published[f"{model}_48"] if key == "viubench" else None)
        if scores:
            numbers[key] = scores[entry.metric]
    return numbers


def group_means(numbers: Mapping[str, float]) -> dict[str, GroupMean]:
    """The mean of each of the paper's groups, and as `all` that of the 17 benchmarks; `numbers` by key, in percent."""
    groups = {
        group: [key for key, entry in BENCHMARKS.items() if entry.paper_group == group]
        for group in PAPER_GROUPS
        if group != "viubench"  # it stands alone
    }
    return {name: _mean_of(keys, numbers) for name, keys in {**groups, "all": list(BENCHMARKS)}.items()}


def _mean_of(keys: Sequence[str], numbers: Mapping[str, float]) -> GroupMean:
    found = [numbers[key] for key in keys if key in numbers]
    return GroupMean(sum(found) / len(found) if found else None, len(found), len(keys))


def _rounded(means: Mapping[str, float]) -> dict[str, float]:
    return {metric: round(mean, 4) for metric, mean in means.items()}
