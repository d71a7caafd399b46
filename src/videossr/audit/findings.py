"""The probe's result on one kind of sample in one rendering, compared with the best blind answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videossr import rewards
from videossr.audit.probe import Choice, cross_validate, softmax
from videossr.audit.probe_samples import ProbeSample
from videossr.audit.statistics import STATISTICS
from videossr.evaluation.intervals import student_interval
from videossr.records import source_of

_MIN_STANDARD_ERRORS = 4.0  # a statistic is reported if its mean shift is at least so many standard errors
_MAX_REPORTED = 3


@dataclass(frozen=True)
class Finding:
    """Mean smooth reward of the probe, of the best answer without statistics (blind), and their mean difference.

    `interval` is Student's interval of `gain` over videos, [-1, 1] if there are too few of them. `top_statistics` names
    the statistics that differ most between the right alternative and the others.
    """

    kind: str
    rendering: str
    num_samples: int
    num_videos: int
    probe_reward: float
    blind_reward: float
    gain: float
    interval: tuple[float, float]
    top_statistics: tuple[str, ...]

    @property
    def is_above_blind(self) -> bool:
        return self.interval[0] > 0

    def as_row(self) -> dict[str, Any]:
        """The finding under the keys of `audit.json`."""
        return {
            "kind": self.kind,
            "way": self.rendering,
            "samples": self.num_samples,
            "videos": self.num_videos,
            "probe": self.probe_reward,
            "floor": self.blind_reward,
            "gain": self.gain,
            "interval": self.interval,
            "tells": self.top_statistics,
        }


def compute_finding(
    kind: str, rendering: str, probe_samples: Sequence[ProbeSample], folds: int, level: float, rng: np.random.Generator
) -> Finding:
    """Train and test the probe on disjoint videos; `level` is the coverage of the interval, such as 0.95."""
    choices = [choice for item in probe_samples for choice in item.choices]
    probabilities = iter(cross_validate(choices, folds, rng))
    probe = np.array([_reward(item, [next(probabilities) for _ in item.choices]) for item in probe_samples])
    blind = np.array([_reward(item, [softmax(choice.prior) for choice in item.choices]) for item in probe_samples])
    sources = [source_of(item.sample.video_id) for item in probe_samples]
    low, high = student_interval(probe - blind, sources, level=level, value_range=(-1.0, 1.0))
    return Finding(
        kind=kind,
        rendering=rendering,
        num_samples=len(probe_samples),
        num_videos=len(set(sources)),
        probe_reward=round(float(probe.mean()), 4),
        blind_reward=round(float(blind.mean()), 4),
        gain=round(float((probe - blind).mean()), 4),
        interval=(round(low, 4), round(high, 4)),
        top_statistics=_top_statistics(choices),
    )


def _reward(item: ProbeSample, probabilities: Sequence[NDArray[np.float64]]) -> float:
    return rewards.score(item.sample.task, item.reply(probabilities), item.sample.answer)


def _top_statistics(choices: Sequence[Choice]) -> tuple[str, ...]:
    """Names of the statistics that separate the right alternatives beyond chance, the most significant first."""
    # Per choice: features of the right alternative minus those expected under the prior.
    shifts = np.array([choice.features[choice.right] - softmax(choice.prior) @ choice.features for choice in choices])
    errors = shifts.std(axis=0) / np.sqrt(len(shifts))
    significance = np.abs(shifts.mean(axis=0)) / np.maximum(errors, 1e-12)
    # The features are one or more blocks of len(STATISTICS); a statistic counts by its best block.
    significance = significance.reshape(-1, len(STATISTICS)).max(axis=0)
    order = np.argsort(-significance, kind="stable")[:_MAX_REPORTED]
    return tuple(STATISTICS[index] for index in order if significance[index] > _MIN_STANDARD_ERRORS)
