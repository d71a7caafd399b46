"""The probe: a conditional logit model that chooses between alternatives by their features.

The answer to a sample is a choice: an interval among all possible ones, a count, the clip that plays next. The
probability of an alternative is the softmax, over the alternatives, of its prior log-probability plus a weighted sum of
its features. The weights are fitted with an L2 penalty, and the penalty is chosen by cross-validation within the
training videos. If there is nothing to learn, the weights go to zero, and the prior, which is the best blind answer,
remains.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videossr.records import source_of

Floats = NDArray[np.float64]

PENALTIES = (1e4, 1e3, 3e2, 1e2, 3e1, 1e1, 3.0, 1.0)  # from the strongest on: each fit starts at the one before
INNER_FOLDS = 3
_MAX_STEPS = 25
_CONVERGED_STEP = 1e-4
_MIN_SPREAD = 1e-3


@dataclass(frozen=True)
class Choice:
    """A choice between A alternatives, of which one is right.

    `features` is float64 [A, D]. `prior` [A] are the log-probabilities without features, up to a constant. `right` is
    the index of the right alternative. A source video is never in both the training and the test part of a fold.
    """

    features: Floats
    prior: Floats
    right: int
    video_id: str


def cross_validate(choices: Sequence[Choice], folds: int, rng: np.random.Generator) -> list[Floats]:
    """Probabilities [A] of the alternatives of every choice, predicted with weights fitted to other videos."""
    probabilities: list[Floats] = [np.empty(0)] * len(choices)
    for train, test in _split(choices, folds, rng):
        weights, scale = _fit([choices[i] for i in train], rng)
        for i in test:
            probabilities[i] = softmax(choices[i].features / scale @ weights + choices[i].prior)
    return probabilities


def softmax(logits: Floats) -> Floats:
    """Probabilities [A] from logits [A]."""
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def _split(choices: Sequence[Choice], folds: int, rng: np.random.Generator) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (training indices, test indices) of each fold; a fold holds whole videos, so no more folds than videos."""
    sources = sorted({source_of(choice.video_id) for choice in choices})
    folds = min(folds, len(sources))
    fold_of = dict(zip(sources, rng.permutation(len(sources)) % folds, strict=True))
    fold_of_choice = np.array([fold_of[source_of(choice.video_id)] for choice in choices])
    for fold in range(folds):
        yield np.flatnonzero(fold_of_choice != fold).tolist(), np.flatnonzero(fold_of_choice == fold).tolist()


def _fit(choices: Sequence[Choice], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Weights [D] and the scale [D] that features are divided by; folds within `choices` select the penalty."""
    stacked = _StackedChoices.of(choices)
    log_likelihoods = np.zeros(len(PENALTIES))
    for train, test in _split(choices, INNER_FOLDS, rng):
        held_out = _StackedChoices.of([choices[i] for i in test], stacked.scale)
        path = _fit_path(_StackedChoices.of([choices[i] for i in train], stacked.scale), PENALTIES)
        log_likelihoods += [held_out.log_likelihood(weights) for weights in path]
    best = int(np.argmax(log_likelihoods))
    return _fit_path(stacked, PENALTIES[: best + 1])[-1], stacked.scale


def _fit_path(stacked: "_StackedChoices", penalties: Sequence[float]) -> list[Floats]:
    """The weights [D] for each penalty, by Newton's method; each fit starts from the weights of the one before."""
    weights = np.zeros(stacked.features.shape[1])
    path = []
    for penalty in penalties:
        for _ in range(_MAX_STEPS):
            step = stacked.newton_step(weights, penalty)
            weights = weights + step
            if np.abs(step).max() < _CONVERGED_STEP:
                break
        path.append(weights)
    return path


@dataclass(frozen=True)
class _StackedChoices:
    """N choices with their alternatives concatenated to M rows: `features` [M, D] and `prior` [M].

    `starts`, `sizes` and `right` [N] are the first row, the number of rows and the right row of each choice. The
    features were divided by `scale` [D], their standard deviation within choices.
    """

    features: Floats
    prior: Floats
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    right: NDArray[np.intp]
    scale: Floats

    @classmethod
    def of(cls, choices: Sequence[Choice], scale: Floats | None = None) -> "_StackedChoices":
        features = np.concatenate([choice.features for choice in choices])
        sizes = np.array([len(choice.features) for choice in choices])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        if scale is None:
            within = features - np.repeat(np.add.reduceat(features, starts) / sizes[:, None], sizes, axis=0)
            scale = np.sqrt(np.square(within).mean(0))
            scale[scale < _MIN_SPREAD] = 1  # do not magnify rounding errors into something to learn
        prior = np.concatenate([choice.prior for choice in choices])
        right = starts + [choice.right for choice in choices]
        return cls(features / scale, prior, starts, sizes, right, scale)

    def probabilities(self, weights: Floats) -> Floats:
        """Probabilities [M]; those of one choice sum to 1."""
        logits = self.features @ weights + self.prior
        exponentials = np.exp(logits - np.repeat(np.maximum.reduceat(logits, self.starts), self.sizes))
        return np.asarray(exponentials / np.repeat(np.add.reduceat(exponentials, self.starts), self.sizes))

    def log_likelihood(self, weights: Floats) -> float:
        return float(np.log(self.probabilities(weights)[self.right] + 1e-300).sum())

    def newton_step(self, weights: Floats, penalty: float) -> Floats:
        """The step [D] that maximises the quadratic approximation of the penalised log-likelihood at `weights`."""
        weighted = self.features * self.probabilities(weights)[:, None]
        means = np.add.reduceat(weighted, self.starts)
        gradient = (self.features[self.right] - means).sum(0) - penalty * weights
        curvature = weighted.T @ self.features - means.T @ means + penalty * np.eye(len(weights))
        return np.asarray(np.linalg.solve(curvature, gradient))
