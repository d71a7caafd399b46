"""Two profiles compared: two-sample tests of each property, corrected for their number, and the size of each effect.

A difference that is significant and small is no drift: with enough videos every difference is significant. So a
property has drifted where its corrected p-value and its effect both pass their thresholds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from videossr.drift.profile import Profile
from videossr.errors import ConfigError

MIN_VIDEOS = 8  # of a batch: with fewer, no test can reach a small p-value


@dataclass(frozen=True)
class DriftParams:
    """When a property has drifted.

    `alpha` bounds the p-value after the correction of Benjamini and Yekutieli, which holds for dependent tests. The
    effect of a numeric property is the largest distance of the two distribution functions (Kolmogorov-Smirnov, 0..1),
    that of a category the largest difference of a share (0..1); `min_effect` bounds both.
    """

    alpha: float = 0.01
    min_effect: float = 0.3

    def __post_init__(self) -> None:
        for name in ("alpha", "min_effect"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Finding:
    """One property: its test, raw and corrected p-value, effect, both batches in words, and whether it has drifted."""

    name: str
    test: str
    p_value: float
    corrected: float
    effect: float
    before: str
    now: str
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """The findings of all properties, those with the largest effect first, and how many videos were known before."""

    findings: tuple[Finding, ...]
    num_before: int
    num_now: int
    num_known: int

    @property
    def drifted(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.drifted]

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        size = f"{self.num_now} new videos against {self.num_before} of the reference"
        if not self.drifted:
            return f"no drift: {size}, {len(self.findings)} properties"
        changes = ", ".join(f"{each.name} ({each.before} -> {each.now})" for each in self.drifted)
        return f"drift in {len(self.drifted)} of {len(self.findings)} properties: {changes}; {size}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sentence": self.sentence, "drifted": [each.name for each in self.drifted]}


@dataclass(frozen=True)
class _Tested:
    name: str
    test: str
    p_value: float
    effect: float
    before: str
    now: str


def find_drift(before: Profile, now: Profile, params: DriftParams) -> Drift:
    """Hold the profile of a new batch against an earlier one.

    Raises ConfigError where one has fewer than `MIN_VIDEOS` videos.
    """
    from scipy.stats import false_discovery_control

    for name, profile in (("the new batch", now), ("the reference", before)):
        if profile.num_videos < MIN_VIDEOS:
            raise ConfigError(
                f"drift needs at least {MIN_VIDEOS} usable videos, {name} has {profile.num_videos}: add videos"
            )
    tested = [_numeric(name, before.columns[name], now.columns[name]) for name in before.columns if now.columns[name]]
    tested.append(_categories("codec", before.codecs, now.codecs))
    tested.append(_categories("refused files", _refusals(before), _refusals(now)))
    corrected = false_discovery_control([each.p_value for each in tested], method="by")
    findings = [
        Finding(
            **asdict(each),
            corrected=float(p_value),
            drifted=bool(p_value < params.alpha and each.effect >= params.min_effect),
        )
        for each, p_value in zip(tested, corrected, strict=True)
    ]
    return Drift(
        findings=tuple(sorted(findings, key=lambda finding: (not finding.drifted, -finding.effect))),
        num_before=before.num_videos,
        num_now=now.num_videos,
        num_known=len(set(before.ids) & set(now.ids)),
    )


def _refusals(profile: Profile) -> dict[str, int]:
    return {"used": profile.num_videos, "refused": profile.num_rejected}


def _numeric(name: str, before: tuple[float, ...], now: tuple[float, ...]) -> _Tested:
    from scipy.stats import ks_2samp

    result = ks_2samp(before, now)
    medians = [f"median {_rounded(float(np.median(values)))}" for values in (before, now)]
    return _Tested(name, "Kolmogorov-Smirnov", float(result.pvalue), float(result.statistic), *medians)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _categories(name: str, before: Mapping[str, int], now: Mapping[str, int]) -> _Tested:
    from scipy.stats import chi2_contingency

    kinds = sorted({kind for counts in (before, now) for kind, count in counts.items() if count})
    table = np.array([[counts.get(kind, 0) for kind in kinds] for counts in (before, now)])
    shares = table / table.sum(axis=1, keepdims=True)
    p_value = float(chi2_contingency(table).pvalue) if len(kinds) > 1 else 1.0
    words = [
        ", ".join(f"{kind} {share:.0%}" for kind, share in zip(kinds, row, strict=True) if share) for row in shares
    ]
    return _Tested(name, "chi-squared", p_value, float(np.abs(shares[0] - shares[1]).max()), *words)
