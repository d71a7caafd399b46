"""VIUBench (paper, section 5): the nine columns and their means, with 95 % intervals, and the gain of training.

A column's score is the mean over its questions, in percent. That of a task is the mean of its columns, and `overall`
that of the nine columns, not of the questions. Intervals resample whole videos (`intervals.bootstrap_intervals`), the
windows of one source video together. Below `intervals.MIN_VIDEOS` videos every interval spans the whole range, and no
gain is significant.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videossr.evaluation.habits import count_correlation, mean_smooth_reward
from videossr.evaluation.intervals import VideoScores, bootstrap_intervals
from videossr.records import ScoredReply, source_of
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

TASKS = ("counting", "grounding", "jigsaw")
MEANS = (*COLUMNS, *TASKS, "overall")  # every number of a row, and of a gain

# Guesses that do not depend on the video, the policy without the video, and the policy before and after training.
ROWS = ("random", "constant", "blind", "before", "after")
BLIND_ROWS = ROWS[:3]

Row = dict[str, Any]

_TASK_COLUMNS = [[i for i, (task, _) in enumerate(COLUMNS.values()) if task == name] for name in TASKS]


def summarise(scored: Sequence[ScoredReply], *, bootstrap_samples: int, seed: int) -> Row:
    """One row of the table, in percent: nine columns, three tasks, `overall`; `n`, `videos`, `unparsed`, `ci95`.

    `ci95` maps each of these means to [low, high]; with too few videos that is [0, 100]. `smooth_reward` maps
    each column to its mean smooth reward, 0..1, and `count_correlation` those of counting to the rank correlation of
    replies and truth. Raises ValueError when a column has no question.
    """
    scores = _sum_by_video(scored)
    means = _means_by_column(scores)
    low, high = _intervals(scores, bootstrap_samples, seed, (0.0, 100.0))
    columns = {name: [item for item in scored if (item.task, item.variant) == kind] for name, kind in COLUMNS.items()}
    counting = [name for name, (task, _) in COLUMNS.items() if task == "counting"]
    return {
        **means,
        "n": len(scored),
        "videos": scores.num_videos,
        "unparsed": sum(not item.parsed for item in scored),
        "ci95": {name: [low[name], high[name]] for name in means},
        "smooth_reward": {name: round(mean_smooth_reward(items), 4) for name, items in columns.items()},
        "count_correlation": {name: round(count_correlation(columns[name]), 4) for name in counting},
    }


def gain(before: Sequence[ScoredReply], after: Sequence[ScoredReply], *, bootstrap_samples: int, seed: int) -> Row:
    """Mean difference `after` minus `before` on the same questions, in percentage points, paired by question.

    Returns `overall` and its `ci95`, `significant` (the interval excludes zero), `videos`, `columns` and `tasks`: mean
    and interval of each. With too few videos every interval is [-100, 100] and nothing is significant. Raises
    ValueError when the two are not replies to the same questions.
    """
    scores = _sum_by_video(_differences(before, after))
    means = _means_by_column(scores)
    low, high = _intervals(scores, bootstrap_samples, seed, (-100.0, 100.0))
    return {
        "overall": means["overall"],
        "ci95": [low["overall"], high["overall"]],
        "significant": low["overall"] > 0 or high["overall"] < 0,
        "videos": scores.num_videos,
        "columns": {name: {"mean": means[name], "ci95": [low[name], high[name]]} for name in COLUMNS},
        "tasks": {name: {"mean": means[name], "ci95": [low[name], high[name]]} for name in TASKS},
    }


def write_results(path: Path, rows: Mapping[str, Row], gain_row: Row, answers: Mapping[str, Any]) -> None:
    """Write `reports/viubench.json`: the columns, one row per policy or baseline, and the gain of after over before.

    `answers` says how every policy answered: its precision and its decoding.
    """
    results = {"columns": list(COLUMNS), "rows": dict(rows), "gain": gain_row, "answers": dict(answers)}
    write_text(path, json.dumps(results, indent=2) + "\n")


def paper_table() -> dict[str, Any]:
    """The paper's VIUBench table: `source`, `questions_per_column`, and `rows`: model -> column -> percent."""
    return json.loads(resources.files("videossr.evaluation").joinpath("paper.json").read_text(encoding="utf-8"))


def _sum_by_video(scored: Sequence[ScoredReply]) -> VideoScores:
    """Scores in percent, summed by column and video. Raises ValueError when a column has no question."""
    columns = {task_and_variant: i for i, task_and_variant in enumerate(COLUMNS.values())}
    videos = {source: i for i, source in enumerate(sorted({source_of(item.video_id) for item in scored}))}
    sums, counts = np.zeros((2, len(columns), len(videos)))
    for item in scored:
        cell = columns[item.task, item.variant], videos[source_of(item.video_id)]
        sums[cell] += 100 * item.score
        counts[cell] += 1
    empty = [name for name, total in zip(COLUMNS, counts.sum(axis=1), strict=True) if total == 0]
    if empty:
        raise ValueError(
            f"VIUBench needs questions of all {len(COLUMNS)} columns, got no question of {', '.join(empty)}: score "
            "replies to the whole benchmark"
        )
    return VideoScores(sums, counts)


def _differences(before: Sequence[ScoredReply], after: Sequence[ScoredReply]) -> list[ScoredReply]:
    """The items of `after`, with the score of the same question in `before` subtracted."""
    earlier = {item.sample_id: item for item in before}
    if earlier.keys() != {item.sample_id for item in after} or len(before) != len(after):
        raise ValueError(
            f"a gain needs replies to the same questions, got {len(before)} before and {len(after)} after that do not "
            "match: score both on the same samples"
        )
    return [ScoredReply(**{**vars(item), "score": item.score - earlier[item.sample_id].score}) for item in after]


def _means_by_column(scores: VideoScores) -> dict[str, float]:
    columns = scores.column_means(np.ones((1, scores.num_videos)))[0]
    return _by_mean(np.concatenate([columns, [columns[group].mean() for group in _TASK_COLUMNS], [columns.mean()]]))


def _intervals(
    scores: VideoScores, num_resamples: int, seed: int, value_range: tuple[float, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """The lower and the upper bounds of all means."""
    low, high = bootstrap_intervals(
        scores, num_resamples=num_resamples, seed=seed, value_range=value_range, groups=_TASK_COLUMNS
    )
    return _by_mean(low), _by_mean(high)


def _by_mean(values: NDArray[np.float64]) -> dict[str, float]:
    """Rounded values by name, from an array in the order of `MEANS`."""
    return {name: round(float(value), 4) for name, value in zip(MEANS, values, strict=True)}
