"""What a rollout yields: each sample with its completions and their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videossr.models.generation import Completion
from videossr.train.prompt_builder import EncodedSample
from videossr.train.reward import CompletionScore, has_variance


@dataclass(frozen=True)
class RolloutGroup:
    """One sample with its G completions, their scores, and the smooth reward of the best blind answer to its task."""

    encoded: EncodedSample
    completions: Sequence[Completion]
    scores: Sequence[CompletionScore]
    blind_floor: float

    @property
    def task(self) -> str:
        return self.encoded.sample.task

    @property
    def rewards(self) -> list[float]:
        return [score.reward for score in self.scores]

    @property
    def has_variance(self) -> bool:
        """Whether the rewards differ; a group without variance has no gradient."""
        return has_variance(self.rewards)

    @property
    def mean_smooth_reward(self) -> float:
        return sum(score.smooth for score in self.scores) / len(self.scores)

    def rows(self) -> list[Mapping[str, Any]]:
        """What TRL is given: one row a completion. `prompt` holds the sample's id; the tokens are in this record."""
        return [
            {
                "prompt": self.encoded.sample.sample_id,
                "task": self.task,
                "reward": score.reward,
                "smooth": score.smooth,
                "is_parsed": score.is_parsed,
                "blind_floor": self.blind_floor,
            }
            for score in self.scores
        ]
