"""What the probe reached on one kind of puzzle shown in one way, against the best blind answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videossr import rewards
from videossr.audit.probe import Choice, cross_validated, softmax
from videossr.audit.puzzles import ProbePuzzle
from videossr.audit.statistics import STATISTICS
from videossr.evaluation.intervals import student_interval

_TELLING = 4.0  # standard errors from which a statistic is named
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Mean smooth rewards of the probe and of the best answer without statistics, and their paired difference.

    `interval` is Student's interval of `gain` with each video as one observation, [-1, 1] below six videos; `tells` the
    statistics that move most where the right answer is.
    """

    kind: str
    way: str
    samples: int
    videos: int
    probe: float
    floor: float
    gain: float
    interval: tuple[float, float]
    tells: tuple[str, ...]

    @property
    def above(self) -> bool:
        return self.interval[0] > 0


def find(
    kind: str, way: str, puzzles: Sequence[ProbePuzzle], folds: int, level: float, rng: np.random.Generator
) -> Finding:
    """Train and judge the probe on different videos of these puzzles; `level` is the interval's, such as 0.95."""
    probabilities = iter(cross_validated([choice for puzzle in puzzles for choice in puzzle.choices], folds, rng))
    probed, blind = np.array(
        [
            (
                _paid(puzzle, [next(probabilities) for _ in puzzle.choices]),
                _paid(puzzle, [softmax(choice.prior) for choice in puzzle.choices]),
            )
            for puzzle in puzzles
        ]
    ).T
    videos = [puzzle.sample.video_id for puzzle in puzzles]
    low, high = student_interval(probed - blind, videos, level=level, value_range=(-1.0, 1.0))
    return Finding(
        kind=kind,
        way=way,
        samples=len(puzzles),
        videos=len(set(videos)),
        probe=round(float(probed.mean()), 4),
        floor=round(float(blind.mean()), 4),
        gain=round(float((probed - blind).mean()), 4),
        interval=(round(low, 4), round(high, 4)),
        tells=_tells([choice for puzzle in puzzles for choice in puzzle.choices]),
    )


def _paid(puzzle: ProbePuzzle, found: Sequence[NDArray[np.float64]]) -> float:
    return rewards.score(puzzle.sample.task, puzzle.reply(found), puzzle.sample.answer)


def _tells(choices: Sequence[Choice]) -> tuple[str, ...]:
    """Names of the statistics that set the right alternatives apart beyond chance, the clearest first."""
    surplus = np.array([choice.features[choice.right] - softmax(choice.prior) @ choice.features for choice in choices])
    errors = surplus.std(axis=0) / np.sqrt(len(surplus))
    clarity = np.abs(surplus.mean(axis=0)) / np.maximum(errors, 1e-12)
    clarity = clarity.reshape(-1, len(STATISTICS)).max(axis=0)
    order = np.argsort(-clarity, kind="stable")[:_NAMED]
    return tuple(STATISTICS[place] for place in order if clarity[place] > _TELLING)
