"""What a mean score hides: replies that are one constant, and counts that do not follow the truth."""

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from videossr import rewards
from videossr.records import ScoredReply

COLLAPSED_SHARE = 0.8  # of the replies of a column that are one and the same text


def mean_smooth_reward(scored: Sequence[ScoredReply]) -> float:
    """The mean of what training maximises by default, 0..1."""
    return float(np.mean([rewards.score(item.task, item.reply, item.answer) for item in scored]))


def count_correlation(scored: Sequence[ScoredReply]) -> float:
    """Spearman's rank correlation of the counts replied and the true counts, the mean of the three shapes.

    `scored` are replies to counting. Replies that do not parse are left out; a shape whose replies are all equal
    counts as 0, because a constant follows nothing.
    """
    from scipy.stats import ConstantInputWarning, spearmanr  # takes a second to import

    pairs = [(rewards.parse_counts(item.reply), rewards.parse_counts(item.answer)) for item in scored]
    both = np.array([(reply, answer) for reply, answer in pairs if reply and answer], dtype=float)
    if len(both) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        by_shape = [spearmanr(both[:, 0, i], both[:, 1, i]).statistic for i in range(rewards.NUM_SHAPES)]
    return float(np.mean(np.nan_to_num(by_shape)))


def collapsed_reply(scored: Sequence[ScoredReply]) -> tuple[str, float] | None:
    """The reply that most questions got, and its share, where that is most of them and the answers differ; else None.

    `scored` are replies to questions of one kind.
    """
    (reply, replies), (_, answers) = (
        Counter(texts).most_common(1)[0]
        for texts in ([item.reply.strip() for item in scored], [item.answer for item in scored])
    )
    is_collapsed = replies >= COLLAPSED_SHARE * len(scored) and answers < replies / 2
    return (reply, replies / len(scored)) if is_collapsed else None
