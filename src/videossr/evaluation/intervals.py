"""Confidence intervals of mean scores when several questions share a video.

Scores on one video are correlated, so both intervals treat the video, with all of its questions, as the independent
observation. They have two uses:

- `bootstrap_intervals`: 95 % intervals of VIUBench's columns and of their means. A column mean is a ratio of two sums;
  the bootstrap needs no formula for its error, nor for that of the mean of nine columns. Percentile intervals are too
  narrow where videos are few.
- `student_interval`: the audit's interval of one mean difference, at levels far above 95 % and with few videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# With fewer videos no 95 % interval exists: where the true difference is zero, the differences on five videos still
# have the same sign in one of sixteen cases.
MIN_VIDEOS = 6

_PERCENTILES = (2.5, 97.5)
_CHUNK = 512  # resamples at a time: a chunk's weights stay below 20 MB at 4,000 videos


@dataclass(frozen=True)
class VideoScores:
    """Scores summed by column and video (`sums`), and the number of questions in each sum (`counts`).

    Both are float64 [columns, videos].
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def num_videos(self) -> int:
        return self.sums.shape[1]

    def column_means(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Means over questions, [n, columns], for n weightings of the videos, [n, videos].

        A mean is NaN where every video that has a question of the column has weight zero.
        """
        with np.errstate(invalid="ignore"):
            return (weights @ self.sums.T) / (weights @ self.counts.T)


def bootstrap_intervals(
    scores: VideoScores,
    *,
    num_resamples: int,
    seed: int,
    value_range: tuple[float, float],
    groups: Sequence[Sequence[int]] = (),
) -> NDArray[np.float64]:
    """95 % percentile-bootstrap intervals of each column mean, of the mean of each group of columns, and of all.

    Draws videos with replacement, each with all of its questions. `groups` are the numbers of their columns. Returns
    float64 [2, columns + groups + 1]: lower and upper bounds. Below `MIN_VIDEOS` videos every interval is
    `value_range`.
    """
    if scores.num_videos < MIN_VIDEOS:
        return np.tile(np.array(value_range)[:, None], len(scores.sums) + len(groups) + 1)
    rng = np.random.default_rng(seed)
    share = np.full(scores.num_videos, 1 / scores.num_videos)
    columns = np.concatenate(
        [
            scores.column_means(rng.multinomial(scores.num_videos, share, size=min(_CHUNK, num_resamples - start)))
            for start in range(0, num_resamples, _CHUNK)
        ]
    )
    means = [_mean_of_present(columns[:, list(group)]) for group in (*groups, range(columns.shape[1]))]
    return np.nanpercentile(np.column_stack([columns, *means]), _PERCENTILES, axis=0)


def _mean_of_present(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row [n] of [n, columns], over the columns of which the resample holds a question.

    A resample of few videos can miss all questions of a column; of all of them: NaN.
    """
    with np.errstate(invalid="ignore"):
        return np.nansum(columns, axis=1) / np.isfinite(columns).sum(axis=1)


def student_interval(
    values: NDArray[np.float64], video_ids: Sequence[str], *, level: float, value_range: tuple[float, float]
) -> tuple[float, float]:
    """Student's t interval of the mean of `values` [n], with the standard error clustered by `video_ids` [n].

    `level` is the coverage, such as 0.95. Below `MIN_VIDEOS` videos the interval is `value_range`.

    A percentile bootstrap would be too narrow here: with six videos and a level of 99.75 %, its interval lies above
    zero in one of forty cases in which the true mean is zero.
    """
    # Imported here: it takes half a second, and VIUBench needs the bootstrap alone.
    from scipy.stats import t as student

    names, cluster = np.unique(video_ids, return_inverse=True)
    if len(names) < MIN_VIDEOS:
        return value_range
    mean = float(values.mean())
    residual_sums = np.bincount(cluster, values - mean)
    error = np.sqrt(len(names) / (len(names) - 1) * np.square(residual_sums).sum()) / len(values)
    half_width = float(student.ppf((1 + level) / 2, len(names) - 1) * error)
    return mean - half_width, mean + half_width
