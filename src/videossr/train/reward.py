"""The reward of a completion, by arithmetic alone (paper, section 3; strict variants, Table 4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from videossr import rewards
from videossr.records import Sample
from videossr.train.params import Reward, TrainParams


@dataclass(frozen=True)
class CompletionScore:
    """What one completion earns.

    `reward` is what training maximises; `smooth` the smooth reward, whichever of the two is maximised; both 0..1.
    """

    reward: float
    smooth: float
    is_parsed: bool


Scorer = Callable[[Sample, str], CompletionScore]  # (sample, completion)
_REWARDS: dict[Reward, Callable[[str, str, str], float]] = {
    "smooth": rewards.score,
    "strict": rewards.strict,
    "metric": rewards.metric,
}


def completion_scorer(params: TrainParams) -> Scorer:
    """Score a completion by the reward that `params` choose for its kind: smooth, strict or VIUBench's metric."""

    def score(sample: Sample, completion: str) -> CompletionScore:
        compute = _REWARDS[params.reward_of(sample)]
        return CompletionScore(
            reward=compute(sample.task, completion, sample.answer),
            smooth=rewards.score(sample.task, completion, sample.answer),
            is_parsed=rewards.parsed(sample.task, completion, sample.answer),
        )

    return score


def reward_function(group_size: int) -> Callable[..., list[float]]:
    """The reward function that TRL calls: it returns the column `reward` of its rows and logs metrics by task.

    The rows are `RolloutGroup.rows`, scored already. Logged for each row: reward, skill (how far the smooth reward lies
    above the blind floor, as a share of what is possible), whether the completion parses, length in tokens. Logged for
    each group: whether all its rewards are equal (`zero_variance`). TRL averages over all rows of all processes.
    """

    def logged_rewards(
        task: Sequence[str],
        reward: Sequence[float],
        smooth: Sequence[float],
        is_parsed: Sequence[bool],
        blind_floor: Sequence[float],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None],
        **unused: object,
    ) -> list[float]:
        for i, name in enumerate(task):
            log_metric(f"reward/{name}", reward[i])
            if blind_floor[i] < 1:  # at 1 a constant answer is always right, and there is no skill to measure
                log_metric(f"skill/{name}", (smooth[i] - blind_floor[i]) / (1 - blind_floor[i]))
            log_metric(f"parsed/{name}", is_parsed[i])
            log_metric(f"length/{name}", len(completion_ids[i]))
        for start in range(0, len(reward), group_size):
            log_metric(f"zero_variance/{task[start]}", not has_variance(reward[start : start + group_size]))
        return list(reward)

    return logged_rewards


def has_variance(group_rewards: Sequence[float]) -> bool:
    """Whether the rewards of a group differ. Where they are all equal, every advantage is 0."""
    return max(group_rewards) > min(group_rewards)
