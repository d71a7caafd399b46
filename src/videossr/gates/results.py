"""The gate's parameters and results: thresholds, checks, failures, and the whole result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from videossr.errors import ConfigError


@dataclass(frozen=True)
class ValidateParams:
    """Thresholds of the gate (section `validate`); shares are 0..1.

    - `min_videos`: minimum number of usable videos; at least 2, because training and benchmark share none.
    - `max_quarantined`: maximum share of the source's files that are rejected.
    - `max_duplicates`: maximum share of the samples of a set that have the same video and edit as another.
    - `max_imbalance`: maximum share of one class of answers, as a multiple of its fair share (that of an even spread
      over all possible answers). It is compared with a lower confidence bound: see `balance.lower_share_bound`.
    - `perceptibility_samples`: number of samples of each task and variant, in each set, that are rendered and compared
      with the unedited clip.
    - `perceptible_difference`: mean absolute difference, 0..255, from which an edit counts as visible.
    - `min_perceptible`: minimum share of the rendered samples of a task and variant whose edit is visible.
    """

    min_videos: int = 2
    max_quarantined: float = 0.9
    max_duplicates: float = 0.0
    max_imbalance: float = 3.0
    perceptibility_samples: int = 16
    perceptible_difference: float = 1.0
    min_perceptible: float = 0.8

    def __post_init__(self) -> None:
        _require(
            self.min_videos >= 2, "min_videos must be at least 2 (one to train on, one to test on)", self.min_videos
        )
        _require(
            self.perceptibility_samples >= 1, "perceptibility_samples must be 1 or more", self.perceptibility_samples
        )
        _require(self.max_imbalance >= 1, "max_imbalance must be 1 or more (1 is a fair share)", self.max_imbalance)
        difference = self.perceptible_difference
        _require(0 < difference <= 255, "perceptible_difference must be above 0 and at most 255", difference)
        for name in ("max_quarantined", "max_duplicates", "min_perceptible"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must be a share in 0..1", getattr(self, name))


# What a user can do about failing rows of a table, with the parameters that decide.
_REMEDIES = {
    "manifest": "add videos, or change ingest.bench_fraction so that training and benchmark both have some",
    "source": "see why files are rejected (videossr quarantine), or raise validate.max_quarantined",
    "balance": "make more samples (pretext.train.num_samples, pretext.viubench.per_column), or raise "
    "validate.max_imbalance",
    "renders": "these videos stand still or have no colours: remove them from the source or add others, leave the kind "
    "out of pretext.train.mixture, or lower validate.perceptible_difference or validate.min_perceptible",
}
_DUPLICATES = "add videos, make fewer samples, or raise validate.max_duplicates"
_OUR_FAULT = "make the data again (dvc repro --force pretext); if it fails again, it is a fault of this program"


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{rule}, got {value}")


@dataclass(frozen=True)
class Check:
    """The result of one expectation on one table: `rule` is its sentence, `kind` its Great Expectations type.

    `num_rows` rows were checked, `num_unexpected` of them fail.
    """

    table: str
    rule: str
    kind: str
    success: bool
    num_rows: int
    num_unexpected: int


@dataclass(frozen=True)
class GateFailure:
    """Rows that fail a rule. `expectation` is the rule's sentence; `rows` is empty where it concerns the whole table.

    Rows are named by video_id (manifest, store), path (quarantine), sample_id (train, viubench, renders) or
    "set task/variant" (balance).
    """

    table: str
    expectation: str
    rows: tuple[str, ...]
    detail: str

    @property
    def remedy(self) -> str:
        """What a user can do about it, with the parameters that decide."""
        if self.table in ("train", "viubench") and "same video and edit" in self.expectation:
            return _DUPLICATES
        return _REMEDIES.get(self.table, _OUR_FAULT)

    def sentence(self, max_rows: int = 3) -> str:
        """The failure in one line, with at most `max_rows` row names."""
        named = ", ".join(self.rows[:max_rows]) + (", ..." if len(self.rows) > max_rows else "")
        line = f"{self.table}: {self.expectation} ({self.detail})" + (f": {named}" if named else "")
        return " ".join(line.split())  # a file name may contain line breaks


@dataclass(frozen=True)
class GateResult:
    """The result of the gate. Training may start only if `failures` is empty.

    `warnings` are failing rows within the share that their rule allows. `pictures` shows some samples whose edit cannot
    be seen: sample_id -> PNG.
    """

    failures: tuple[GateFailure, ...]
    warnings: tuple[GateFailure, ...]
    checks: tuple[Check, ...]
    statistics: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        return not self.failures

    def summary(self, max_failures: int = 2) -> str:
        """One sentence: how many rules failed, and the first `max_failures` of them with their rows."""
        if self.success:
            return f"the data is fit to train on: {len(self.checks)} rules hold"
        first = "; ".join(failure.sentence() for failure in self.failures[:max_failures])
        remedies = dict.fromkeys(failure.remedy for failure in self.failures[:max_failures])
        failed = f"{len(self.failures)} of {len(self.checks)} rules failed"
        return f"the data is not fit to train on: {failed}: {first}. What to do: {'; '.join(remedies)}"

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data, in a stable order."""
        return {
            "success": self.success,
            "summary": self.summary(),
            "failures": [asdict(failure) for failure in self.failures],
            "warnings": [asdict(warning) for warning in self.warnings],
            "checks": [asdict(check) for check in self.checks],
            "statistics": dict(self.statistics),
        }
