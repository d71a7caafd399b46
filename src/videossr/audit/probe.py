"""The detector: a choice between alternatives by their statistics, trained and judged on different videos.

A puzzle's answer is a choice: this interval among all that could be, this count, this clip as the next to play. The
probability of an alternative is a softmax of a weighted sum of its features, on top of what is known without any
statistic. The weights are fitted under a penalty that is itself chosen by cross-validation within the training videos;
where nothing can be learned they go to zero, and what is left is the best blind answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTIES = (1e4, 1e3, 3e2, 1e2, 3e1, 1e1, 3.0, 1.0)
INNER_FOLDS = 3
_MAX_STEPS = 25
_SMALL_STEP = 1e-4
_SMALL_SPREAD = 1e-3


@dataclass(frozen=True)
class Choice:
    """Alternatives of which one is right.

    `features` float64 [A, D]; `prior` the log-probabilities [A] of who knows no statistic; `right` the index of the
    right alternative; `group` the video, which is never on both sides of a fold.
    """

    features: NDArray[np.float64]
    prior: NDArray[np.float64]
    right: int
    group: str


def cross_validated(choices: Sequence[Choice], folds: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Probabilities [A] of the alternatives of every choice, each by weights fitted to other videos."""
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(choices)
    for inside, outside in _folds(choices, folds, rng):
        weights, scale = _fitted([choices[i] for i in inside], rng)
        for i in outside:
            found[i] = softmax(choices[i].features / scale @ weights + choices[i].prior)
    return found


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities [A] from logits [A]."""
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def _folds(choices: Sequence[Choice], folds: int, rng: np.random.Generator) -> Iterator[tuple[list[int], list[int]]]:
    """(training indices, test indices), by whole videos, as many folds as there are videos at most."""
    groups = sorted({choice.group for choice in choices})
    fold_of = dict(zip(groups, rng.permutation(len(groups)) % min(folds, len(groups)), strict=True))
    places = np.array([fold_of[choice.group] for choice in choices])
    for fold in range(min(folds, len(groups))):
        yield np.flatnonzero(places != fold).tolist(), np.flatnonzero(places == fold).tolist()


def _fitted(choices: Sequence[Choice], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [D] and the scale [D] of the features, the penalty chosen by folds within `choices`."""
    table = _Table.of(choices)
    likelihoods = np.zeros(len(PENALTIES))
    for inside, outside in _folds(choices, INNER_FOLDS, rng):
        judged = _Table.of([choices[i] for i in outside], table.scale)
        path = _path(_Table.of([choices[i] for i in inside], table.scale), PENALTIES)
        likelihoods += [judged.likelihood(weights) for weights in path]
    best = int(np.argmax(likelihoods))
    return _path(table, PENALTIES[: best + 1])[-1], table.scale


def _path(table: "_Table", penalties: Sequence[float]) -> list[NDArray[np.float64]]:
    """The weights under each penalty, from the strongest on, each found from the one before."""
    weights = np.zeros(table.features.shape[1])
    path = []
    for penalty in penalties:
        for _ in range(_MAX_STEPS):
            step = table.newton_step(weights, penalty)
            weights = weights + step
            if np.abs(step).max() < _SMALL_STEP:
                break
        path.append(weights)
    return path


@dataclass(frozen=True)
class _Table:
    """The alternatives of many choices one below another, features scaled to a spread of one within choices."""

    features: NDArray[np.float64]
    prior: NDArray[np.float64]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    right: NDArray[np.intp]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, choices: Sequence[Choice], scale: NDArray[np.float64] | None = None) -> "_Table":
        features = np.concatenate([choice.features for choice in choices])
        sizes = np.array([len(choice.features) for choice in choices])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        if scale is None:
            within = features - np.repeat(np.add.reduceat(features, starts) / sizes[:, None], sizes, axis=0)
            scale = np.sqrt(np.square(within).mean(0))
            scale[scale < _SMALL_SPREAD] = 1  # rounding is not to be blown up into something to learn
        prior = np.concatenate([choice.prior for choice in choices])
        right = starts + [choice.right for choice in choices]
        return cls(features / scale, prior, starts, sizes, right, scale)

    def probabilities(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = self.features @ weights + self.prior
        exponentials = np.exp(logits - np.repeat(np.maximum.reduceat(logits, self.starts), self.sizes))
        return np.asarray(exponentials / np.repeat(np.add.reduceat(exponentials, self.starts), self.sizes))

    def likelihood(self, weights: NDArray[np.float64]) -> float:
        return float(np.log(self.probabilities(weights)[self.right] + 1e-300).sum())

    def newton_step(self, weights: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        weighted = self.features * self.probabilities(weights)[:, None]
        means = np.add.reduceat(weighted, self.starts)
        gradient = (self.features[self.right] - means).sum(0) - penalty * weights
        curvature = weighted.T @ self.features - means.T @ means + penalty * np.eye(len(weights))
        return np.asarray(np.linalg.solve(curvature, gradient))
