"""Scores of a benchmark as a pure function of its items and the replies to them.

`replies` maps the id of an item to the text of its reply, or to None where the attempt failed (a video that does not
decode, an endpoint that gives up). An item without an entry was not asked: its video is missing. Both stay in the
denominator: the number of a benchmark is its mean over all questions.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import Any

import numpy as np

from videossr import rewards
from videossr.evaluation.baselines import LARGEST_COUNT
from videossr.evaluation.benchmarks.items import Item, Items
from videossr.evaluation.benchmarks.replies import Parsed, parse_reply
from videossr.evaluation.intervals import MIN_VIDEOS, VideoScores, bootstrap_intervals
from videossr.rewards import Interval, interval_iou

Replies = Mapping[str, str | None]

IOU_THRESHOLDS = (0.3, 0.5, 0.7)

PERCENT = (0.0, 100.0)  # the interval of a mean over too few videos


@dataclass(frozen=True)
class ItemScore:
    """One item with what its reply said: `parsed` is None where it was not asked, failed, or cannot be read.

    `values` are the metrics of the item in 0..1: 0 where nothing was parsed.
    """

    item: Item
    parsed: Parsed | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Counts:
    """Questions by what became of them: `questions` = `missing` + `asked`.

    Of those asked, `failed` have no reply, `answered` have one that is not blank, and `parsed` one that can be read.
    """

    questions: int
    missing: int
    asked: int
    failed: int
    answered: int
    parsed: int

    @property
    def coverage(self) -> float:
        """The share of all questions whose reply could be read, in percent."""
        return 100 * self.parsed / self.questions


@dataclass(frozen=True)
class Column:
    """One metric in percent: the mean over `units` (questions, or pairs), with its 95 % interval over `videos`."""

    mean: float
    low: float
    high: float
    units: int
    videos: int


@dataclass(frozen=True)
class Score:
    """The result of a benchmark.

    `metric` names the column that is the benchmark's number. `columns` are over all questions, `parsed_means` over
    those whose reply could be read, as the paper's scripts count. `groups` holds the columns of each value of each
    group, `chance` what a guess is expected to score. Percent.
    """

    metric: str
    counts: Counts
    columns: Mapping[str, Column]
    parsed_means: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, Column]]]
    chance: Mapping[str, float]

    @property
    def number(self) -> Column:
        return self.columns[self.metric]


def score(items: Items, replies: Replies, *, num_resamples: int = 2000, seed: int = 0) -> Score:
    """Score the replies to a benchmark; intervals are clustered by source video.

    Raises ValueError where there is no item, or a reply belongs to none.
    """
    strangers = sorted(replies.keys() - {item.id for item in items})
    if strangers or not items:
        raise ValueError(f"replies must belong to the items, got {len(items)} items and replies to {strangers[:3]}")
    scored = item_scores(items, replies)
    units = score_units(scored, paired=items.benchmark.family == "paired")
    columns, groups = unit_columns(units, num_resamples=num_resamples, seed=seed, value_range=PERCENT)
    return Score(
        metric=items.benchmark.metric,
        counts=_count(items, replies, scored),
        columns=columns,
        parsed_means=_parsed_means(units),
        groups=groups,
        chance=chance(items),
    )


def item_scores(items: Iterable[Item], replies: Replies) -> list[ItemScore]:
    """What each reply says and its metrics in 0..1, in the order of the items."""
    scored = []
    for item in items:
        reply = replies.get(item.id)
        parsed = None if reply is None else parse_reply(item, reply)
        scored.append(ItemScore(item, parsed, _values(item, parsed)))
    return scored


def chance(items: Items) -> dict[str, float]:
    """Expected score, in percent, of replies that know nothing: a uniform draw among the labels, or among the orders.

    For grounding it is the score of the whole video as interval; empty where the durations are not known.
    """
    if items[0].task:
        return _mean_values({"score": _blind_score(item)} for item in items)
    if items[0].windows:
        durations = [item.duration_seconds for item in items]
        if None in durations:
            return {}
        whole = ((0.0, seconds) for seconds in durations if seconds is not None)
        return _mean_values(_values(item, window) for item, window in zip(items, whole, strict=True))
    if not items[0].labels:
        lengths = [len(item.order) for item in items]
        return _mean_values({"exact": 1 / factorial(length), "step": 1 / length} for length in lengths)
    guesses = [ItemScore(item, None, {"accuracy": 1 / len(item.labels)}) for item in items]
    pairs = _pair_units(guesses) if items.benchmark.family == "paired" else []
    return _mean_values([*(each.values for each in guesses), *(pair.values for pair in pairs)])


def _blind_score(item: Item) -> float:
    """The expected score of the paper's random guess at a question of VIUBench (`baselines.random_answers`)."""
    if item.task == "grounding":
        edit = json.loads(item.prompt_values["edit"])
        return float(edit["length"] / edit["num_frames"])  # the whole video as interval
    if item.task == "counting":
        return 1 / LARGEST_COUNT[item.groups["variant"][0]]
    return 1 / factorial(len(item.answer))


def _values(item: Item, parsed: Parsed | None) -> dict[str, float]:
    """The metrics of one item: of VIUBench `score`, of a choice `accuracy`, of an order `exact` and `step`, else those
    of intervals.
    """
    if item.task:
        return {"score": rewards.metric(item.task, parsed, item.answer) if isinstance(parsed, str) else 0.0}
    if item.windows:
        return _interval_values(item.windows, parsed)
    if item.labels:
        return {"accuracy": float(parsed == item.answer)}
    places = zip(item.order, parsed or (0,) * len(item.order), strict=True)
    step = sum(right == clip for right, clip in places) / len(item.order)
    return {"exact": float(step == 1), "step": step}


def _interval_values(windows: Sequence[Interval], parsed: Any) -> dict[str, float]:
    """IoU and its thresholds against the best window (the official rule), and against the first as `first ..`."""
    ious = [interval_iou(parsed, window) if parsed else 0.0 for window in windows]
    values = {}
    for name, iou in (("", max(ious)), ("first ", ious[0])):
        values[f"{name}mIoU"] = iou
        values |= {f"{name}R1@{threshold}": float(iou >= threshold) for threshold in IOU_THRESHOLDS}
    return values


@dataclass(frozen=True)
class Unit:
    """What a mean is taken over: a question, or a pair, which then has the groups of its first item.

    `values` are the metrics in 0..1.
    """

    item: Item
    values: Mapping[str, float]
    parsed: bool


def score_units(scored: Sequence[ItemScore], *, paired: bool) -> list[Unit]:
    """What the means of a benchmark are taken over: the complete pairs where it is `paired`, then all questions."""
    pairs = _pair_units(scored) if paired else []
    return [*pairs, *(Unit(each.item, each.values, each.parsed is not None) for each in scored)]


def _pair_units(scored: Sequence[ItemScore]) -> list[Unit]:
    """Text, video and group score of each complete pair: all of its two, two, and four answers are right.

    The product serves replies (0 or 1) and guesses (probabilities) alike.
    """
    pairs: dict[str, dict[str, list[ItemScore]]] = defaultdict(lambda: defaultdict(list))
    for each in scored:
        pairs[each.item.pair][each.item.kind].append(each)
        pairs[each.item.pair]["group"].append(each)
    sizes = {"text": 2, "video": 2, "group": 4}
    return [
        Unit(
            members[0].item,
            {kind: prod(each.values["accuracy"] for each in members)},
            all(each.parsed is not None for each in members),
        )
        for kinds in pairs.values()
        for kind, members in kinds.items()
        if len(members) == sizes[kind]
    ]


def unit_columns(
    units: Sequence[Unit], *, num_resamples: int, seed: int, value_range: tuple[float, float]
) -> tuple[dict[str, Column], dict[str, dict[str, dict[str, Column]]]]:
    """The column of each metric over all units, and of each value of each group, intervals clustered by source video.

    `value_range` is the interval of a column of fewer than `MIN_VIDEOS` videos.
    """
    videos = {cluster: place for place, cluster in enumerate(dict.fromkeys(unit.item.cluster for unit in units))}
    names = {key: place for place, key in enumerate(dict.fromkeys(key for unit in units for key, _ in _cells(unit)))}
    sums, counts = np.zeros((2, len(names), len(videos)))
    for unit in units:
        for key, value in _cells(unit):
            cell = names[key], videos[unit.item.cluster]
            sums[cell] += 100 * value
            counts[cell] += 1
    scores = VideoScores(sums, counts)
    means = scores.column_means(np.ones((1, len(videos))))[0]
    intervals = bootstrap_intervals(scores, num_resamples=num_resamples, seed=seed, value_range=value_range)
    groups: dict[str, dict[str, dict[str, Column]]] = defaultdict(lambda: defaultdict(dict))
    for (group, name, metric), place in names.items():
        num_videos = int((counts[place] > 0).sum())
        low, high = intervals[:, place] if num_videos >= MIN_VIDEOS else value_range
        column = Column(float(means[place]), float(low), float(high), int(counts[place].sum()), num_videos)
        groups[group][name][metric] = column
    everything = groups.pop("")[""]
    return everything, {group: dict(values) for group, values in groups.items()}


def _cells(unit: Unit) -> Iterator[tuple[tuple[str, str, str], float]]:
    """The columns to which a unit contributes, and with which value."""
    places = [("", ""), *((group, value) for group, values in unit.item.groups.items() for value in values)]
    for metric, value in unit.values.items():
        yield from (((*place, metric), value) for place in places)


def _parsed_means(units: Iterable[Unit]) -> dict[str, float]:
    return _mean_values(unit.values for unit in units if unit.parsed)


def _mean_values(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Means in percent, by metric, over the rows that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for metric, value in row.items():
            values[metric].append(value)
    return {metric: 100 * sum(found) / len(found) for metric, found in values.items()}


def _count(items: Items, replies: Replies, scored: Sequence[ItemScore]) -> Counts:
    texts = [replies[item.id] for item in items if item.id in replies]
    return Counts(
        questions=len(items),
        missing=len(items) - len(texts),
        asked=len(texts),
        failed=sum(text is None for text in texts),
        answered=sum(bool(text and text.strip()) for text in texts),
        parsed=sum(each.parsed is not None for each in scored),
    )
