"""What a completion is paid, and what is told of it: arithmetic alone (paper, section 3; strict variants, Table 4)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from videossr import rewards
from videossr.train.params import TrainParams

Score = Callable[[str, str, str], float]  # (task, completion, answer) -> 0..1

_SCORES: dict[str, Score] = {"smooth": rewards.score, "strict": rewards.strict}


def scorer(params: TrainParams) -> Score:
    """The reward of every task as the parameters choose it, smooth or strict."""
    return lambda task, completion, answer: _SCORES[params.reward_of(task)](task, completion, answer)


def smooth_mean(task: str, completions: Sequence[str], answer: str) -> float:
    """The mean smooth reward of a group, whatever it is paid by."""
    return _mean([rewards.score(task, completion, answer) for completion in completions])


def verified_reward(score: Score, group_size: int, floors: Mapping[str, float]) -> Callable[..., list[float]]:
    """The reward TRL calls: each completion scored by `score`, with metrics per task.

    Logs per task the mean reward, the skill, the share of replies that parse, and the share of groups whose rewards are
    all equal and so teach nothing.
    """

    def verified(
        completions: Sequence[str],
        task: Sequence[str],
        answer: Sequence[str],
        log_metric: Callable[[str, float], None],
        **unused: Any,
    ) -> list[float]:
        rows = list(zip(task, completions, answer, strict=True))
        scores = [score(*row) for row in rows]
        for name in sorted(set(task)):
            mine = [i for i, t in enumerate(task) if t == name]
            groups = [[scores[i] for i in mine[at : at + group_size]] for at in range(0, len(mine), group_size)]
            log_metric(f"reward/{name}", _mean([scores[i] for i in mine]))
            smooth = _mean([rewards.score(*rows[i]) for i in mine])
            if floors[name] < 1:  # else one answer is always right, and there is no skill in giving it
                log_metric(f"skill/{name}", (smooth - floors[name]) / (1 - floors[name]))
            log_metric(f"zero_variance/{name}", _mean([not varied(group) for group in groups]))
            log_metric(f"parsed/{name}", _mean([rewards.parsed(*rows[i]) for i in mine]))
        return scores

    return verified


def varied(scores: Sequence[float]) -> bool:
    """Whether a group's rewards differ: without a difference there is nothing to prefer."""
    return max(scores) > min(scores)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
