"""Dynamic sampling: replace groups whose rewards are all equal, because they have no gradient."""

from collections.abc import Callable, Sequence

import numpy as np
from accelerate.utils import gather_object

from videossr.train.prompt_builder import EncodedSample, Position, PromptBuilder
from videossr.train.rollout import RolloutGroup


class DynamicSampler:
    """Samples other prompts in place of groups without variance, at most `max_rounds` times a step.

    `sample_groups` rolls out and scores encoded samples, each at its position.
    """

    def __init__(
        self,
        prompt_builder: PromptBuilder,
        sample_groups: Callable[[Sequence[EncodedSample], Sequence[Position]], list[RolloutGroup]],
        max_rounds: int,
    ) -> None:
        self._prompt_builder = prompt_builder
        self._sample_groups = sample_groups
        self._max_rounds = max_rounds

    def replace_flat_groups(self, groups: Sequence[RolloutGroup], positions: Sequence[Position]) -> list[RolloutGroup]:
        """The groups, with those without variance replaced where another prompt brought one with variance."""
        groups = list(groups)
        for attempt in range(1, self._max_rounds + 1):
            flat = [i for i, group in enumerate(groups) if not group.has_variance]
            retries = [(*positions[i], attempt) for i in flat]
            candidates = [self._prompt_builder.build_random(*position) for position in retries]
            for i, group in zip(flat, self._sample_groups(candidates, retries), strict=True):
                if group.has_variance:
                    groups[i] = group
        return groups

    def metrics(self, before: Sequence[RolloutGroup], after: Sequence[RolloutGroup]) -> dict[str, float]:
        """The share of groups that were replaced, over all processes."""
        if not self._max_rounds:
            return {}
        replaced = sum(new is not old for old, new in zip(before, after, strict=True))
        return {"exchanged": sum(gather_object([replaced])) / sum(gather_object([len(before)]))}


def position_seed(seed: int, position: Position) -> int:
    """A seed for the rollout of one group: 63 bits, a function of the run's seed and the group's position."""
    return int(np.random.SeedSequence((seed, *position)).generate_state(1, np.uint64)[0] >> np.uint64(1))
