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

    Logs per task the reward, the skill above the blind floor (of the level that a group was asked at, else of the task
    as `floors` has it), the length in tokens, whether the reply parses, and whether a group's rewards are all equal and
    so teach nothing: each of each row or group, so that the means over all processes are right.
    """

    def verified(
        completions: Sequence[str],
        task: Sequence[str],
        answer: Sequence[str],
        level_floor: Sequence[float | None],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None],
        **unused: Any,
    ) -> list[float]:
        rows = list(zip(task, completions, answer, strict=True))
        scores = [score(*row) for row in rows]
        for i, (name, reply, truth) in enumerate(rows):
            at_level = level_floor[i]
            floor = floors[name] if at_level is None else at_level
            log_metric(f"reward/{name}", scores[i])
            if floor < 1:  # else one answer is always right, and there is no skill in giving it
                log_metric(f"skill/{name}", (rewards.score(name, reply, truth) - floor) / (1 - floor))
            log_metric(f"parsed/{name}", rewards.parsed(name, reply, truth))
            log_metric(f"length/{name}", len(completion_ids[i]))
        for at in range(0, len(rows), group_size):
            log_metric(f"zero_variance/{task[at]}", not varied(scores[at : at + group_size]))
        return scores

    return verified


def varied(scores: Sequence[float]) -> bool:
    """Whether a group's rewards differ: without a difference there is nothing to prefer."""
    return max(scores) > min(scores)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
