"""VIUBench (paper, section 5): nine columns, their mean, and how sure we are of both.

A column's score is the mean over its questions, in percent. `overall` is the mean of the nine columns, not of the
questions. Questions about one video are not independent, so every interval is a bootstrap over videos: videos are
drawn with replacement, each with all of its questions, and the 2.5 and 97.5 percentiles are taken.

Fewer than `MIN_VIDEOS` videos carry no 95 % statement at all: where training changes nothing, five videos still agree
in sign once in sixteen times. Their intervals are left fully open, and no gain on them is significant.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videossr.records import ScoredReply
from videossr.storage.atomic import write_text

COLUMNS: dict[str, tuple[str, str]] = {
    "counting_easy": ("counting", "easy"),
    "counting_hard": ("counting", "hard"),
    "channel_swap": ("grounding", "channel_swap"),
    "rotate_180": ("grounding", "rotate_180"),
    "zoom_out": ("grounding", "zoom_out"),
    "mirror": ("grounding", "mirror"),
    "shuffle": ("grounding", "shuffle"),
    "jigsaw_6": ("jigsaw", "6"),
    "jigsaw_8": ("jigsaw", "8"),
}

Row = dict[str, Any]

MIN_VIDEOS = 6

_PERCENTILES = (2.5, 97.5)
_CHUNK = 512  # resamples at a time: a chunk's weights stay below 20 MB at 4,000 videos


def summarise(scored: Sequence[ScoredReply], *, bootstrap_samples: int, seed: int) -> Row:
    """One row of the table, in percent: the nine columns, `overall`, `n`, `videos`, `unparsed` and `ci95`.

    `ci95` maps each column and `overall` to [low, high]; below `MIN_VIDEOS` videos that is [0, 100]. Raises ValueError
    when a column has no question.
    """
    table = _tabulate(scored)
    columns = table.means(np.ones((1, table.num_videos)))[0]
    low, high = _interval(table, bootstrap_samples, seed, unknown=(0.0, 100.0))
    means = _named(np.append(columns, columns.mean()))
    return {
        **means,
        "n": len(scored),
        "videos": table.num_videos,
        "unparsed": sum(not item.parsed for item in scored),
        "ci95": {name: [low[name], high[name]] for name in means},
    }


def gain(before: Sequence[ScoredReply], after: Sequence[ScoredReply], *, bootstrap_samples: int, seed: int) -> Row:
    """What `after` scores above `before` on the same questions, in percentage points, paired over videos.

    Returns `overall` and its `ci95`, `significant` (the interval excludes zero), `videos`, and `columns`: mean and
    interval of each. Below `MIN_VIDEOS` videos every interval is [-100, 100] and nothing is significant. Raises
    ValueError when the two did not answer the same questions.
    """
    table = _tabulate(_differences(before, after))
    columns = table.means(np.ones((1, table.num_videos)))[0]
    low, high = _interval(table, bootstrap_samples, seed, unknown=(-100.0, 100.0))
    means = _named(np.append(columns, columns.mean()))
    return {
        "overall": means["overall"],
        "ci95": [low["overall"], high["overall"]],
        "significant": low["overall"] > 0 or high["overall"] < 0,
        "videos": table.num_videos,
        "columns": {name: {"mean": means[name], "ci95": [low[name], high[name]]} for name in COLUMNS},
    }


def write_results(path: Path, rows: Mapping[str, Row], gained: Row) -> None:
    """Write `reports/viubench.json`: the columns, a row for each answerer, and the gain of after over before."""
    results = {"columns": list(COLUMNS), "rows": dict(rows), "gain": gained}
    write_text(path, json.dumps(results, indent=2) + "\n")


def paper_table() -> dict[str, Any]:
    """The paper's VIUBench table: `source`, `questions_per_column`, and `rows`: model -> column -> percent."""
    return json.loads(resources.files("videossr.evaluation").joinpath("paper.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Table:
    """Scores in percent summed by column and video, and the questions in each sum: float64 [columns, videos]."""

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def num_videos(self) -> int:
        return self.sums.shape[1]

    def means(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Column means under video weights [n, videos] -> [n, columns]; NaN where no question was drawn."""
        with np.errstate(invalid="ignore"):
            return (weights @ self.sums.T) / (weights @ self.counts.T)


def _tabulate(scored: Sequence[ScoredReply]) -> _Table:
    columns = {task_and_variant: i for i, task_and_variant in enumerate(COLUMNS.values())}
    videos = {video_id: i for i, video_id in enumerate(sorted({item.video_id for item in scored}))}
    sums, counts = np.zeros((2, len(columns), len(videos)))
    for item in scored:
        where = columns[item.task, item.variant], videos[item.video_id]
        sums[where] += 100 * item.score
        counts[where] += 1
    empty = [name for name, total in zip(COLUMNS, counts.sum(axis=1), strict=True) if total == 0]
    if empty:
        raise ValueError(f"VIUBench is the mean of {len(COLUMNS)} columns, no question of {', '.join(empty)} was asked")
    return _Table(sums, counts)


def _differences(before: Sequence[ScoredReply], after: Sequence[ScoredReply]) -> list[ScoredReply]:
    earlier = {item.sample_id: item for item in before}
    if earlier.keys() != {item.sample_id for item in after} or len(before) != len(after):
        raise ValueError("a gain is paired: before and after must have answered the same questions")
    return [ScoredReply(**{**vars(item), "score": item.score - earlier[item.sample_id].score}) for item in after]


def _interval(
    table: _Table, bootstrap_samples: int, seed: int, unknown: tuple[float, float]
) -> tuple[dict[str, float], dict[str, float]]:
    if table.num_videos < MIN_VIDEOS:
        return _named(np.full(len(COLUMNS) + 1, unknown[0])), _named(np.full(len(COLUMNS) + 1, unknown[1]))
    rng = np.random.default_rng(seed)
    share = np.full(table.num_videos, 1 / table.num_videos)
    columns = np.concatenate(
        [
            table.means(rng.multinomial(table.num_videos, share, size=min(_CHUNK, bootstrap_samples - start)))
            for start in range(0, bootstrap_samples, _CHUNK)
        ]
    )
    # A resample of few videos can miss a column: it then says nothing about it, and its overall is of the others.
    replicates = np.column_stack([columns, np.nanmean(columns, axis=1)])
    low, high = np.nanpercentile(replicates, _PERCENTILES, axis=0)
    return _named(low), _named(high)


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip([*COLUMNS, "overall"], values, strict=True)}
