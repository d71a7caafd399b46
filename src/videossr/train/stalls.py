"""Signs that training goes nowhere: no completion parses, every reward is 0, no group has variance.

GRPO learns from differences within a group. Where there are none for several steps, it changes nothing and costs the
same, so the user is told once while it happens, with the likely cause and the remedy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, float]
STALL_STEPS = 10  # consecutive steps


@dataclass(frozen=True)
class Stall:
    """Steps `first`..`last` that taught nothing; `kind` says why: `unparsed`, `zero_reward` or `flat_groups`."""

    kind: str
    first: int
    last: int


def _nothing_parses(row: Row) -> bool:
    shares = [value for name, value in row.items() if name.startswith("parsed/")]
    return bool(shares) and not any(shares)


# In order: the first sign that holds explains those after it.
_SIGNS: dict[str, Callable[[Row], bool]] = {
    "unparsed": _nothing_parses,
    "zero_reward": lambda row: row.get("reward") == 0,
    "flat_groups": lambda row: row.get("zero_variance") == 1,
}


def find_stalls(rows: Sequence[Row], total_steps: int) -> list[Stall]:
    """The stalls in logged steps, in order: at least STALL_STEPS with one sign, or every step of a shorter run."""
    least, stalls = min(STALL_STEPS, total_steps), list[Stall]()
    for kind, applies in _SIGNS.items():
        run: list[int] = []
        for row in [*(row for row in rows if "reward" in row), {}]:  # a rollout that serves several steps logs once
            if applies(row):
                run.append(int(row["step"]))
                continue
            if run and run[-1] - run[0] + 1 >= least and not _explained(run, stalls):
                stalls.append(Stall(kind, run[0], run[-1]))
            run = []
    return sorted(stalls, key=lambda stall: stall.first)


def _explained(run: Sequence[int], stalls: Sequence[Stall]) -> bool:
    """Whether a sign before this one holds for most of the steps."""
    covered = sum(stall.first <= step <= stall.last for step in run for stall in stalls)
    return 2 * covered > len(run)


def describe(stall: Stall, rows: Sequence[Row], max_completion_tokens: int, has_finite_weights: bool = True) -> str:
    """One sentence: which steps, what is seen, the likely cause, and the remedy."""
    steps = f"steps {stall.first} to {stall.last} taught nothing"
    if not has_finite_weights:
        return (
            f"{steps}: the weights of the policy are not finite numbers: stop, lower train.grpo.learning_rate, and "
            "start again from a whole checkpoint"
        )
    if stall.kind == "unparsed":
        within = [row for row in rows if stall.first <= row["step"] <= stall.last]
        lengths = [row["completions/mean_length"] for row in within if "completions/mean_length" in row]
        if lengths and sum(lengths) / len(lengths) >= 0.95 * max_completion_tokens:
            return (
                f"{steps}: no completion has the form of an answer, and nearly all are cut off at "
                f"train.grpo.max_completion_tokens ({max_completion_tokens}): raise it, or start from a policy that "
                "answers directly (tiny-random: raise the steps of train.warmup.phases)"
            )
        return (
            f"{steps}: no completion has the form of an answer: start from a policy that follows instructions "
            "(tiny-random: raise the steps of train.warmup.phases), or lower train.grpo.temperature"
        )
    if stall.kind == "zero_reward":
        return (
            f"{steps}: every reward is 0, though completions have the form of an answer: make the samples easier "
            "(train.curriculum, pretext.train.mixture), or set train.reward: smooth"
        )
    return (
        f"{steps}: within each group all rewards are equal, so no advantage differs from 0: raise "
        "train.grpo.temperature or group_size, set refill_rounds, or change how hard the samples are (train.curriculum)"
    )
