"""Audit for shortcuts: can a probe that sees only frame statistics, and no picture, answer the samples?

If frames are saved as lossy files after the edit, the compression shows which frames were edited (measured on the
published way of writing them). If frames are rendered in memory, it does not. The audit shows both, on the same samples
and with the same probe. In order: `renderings` makes the frames, `statistics` and `features` measure them,
`probe_samples` and `probe` train and apply the probe, `findings` compares it with the best blind answer, `page` shows
the result.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from videossr.audit.features import measure_features
from videossr.audit.findings import Finding, compute_finding
from videossr.audit.page import render_page
from videossr.audit.probe_samples import build_probe_samples
from videossr.audit.renderings import RENDERINGS, Rendering
from videossr.audit.statistics import STATISTICS
from videossr.clip import Clip
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.errors import ConfigError, SourceError
from videossr.pretext import TASKS
from videossr.records import FrameTimes, Sample, kind_name, source_of
from videossr.storage.atomic import write_text

__all__ = ["GATED_KINDS", "AuditParams", "run_audit", "write_audit"]

# Edits that change no statistic of a frame: if the probe finds them, it found a trace of how the frames were written.
GATED_KINDS = ("grounding/mirror", "grounding/rotate_180", "grounding/channel_swap", "grounding/shuffle")
_COMPARED_KINDS = (*GATED_KINDS, "counting/easy", "counting/hard")


@dataclass(frozen=True)
class AuditParams:
    """Parameters of an audit.

    `num_samples`: samples of each kind. `folds`: cross-validation folds. `confidence`: joint confidence of the
    intervals of all gated kinds. `perceptible_difference`: mean pixel difference (0..255) from which an edit counts as
    visible. `seed`: draws samples and folds.
    """

    num_samples: int = 300
    folds: int = 5
    confidence: float = 0.99
    perceptible_difference: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError(f"num_samples must be at least 1, got {self.num_samples}")
        if self.folds < 2:
            raise ConfigError(f"folds must be at least 2, to test the probe on other videos, got {self.folds}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must be between 0 and 1, got {self.confidence}")
        if not 0 < self.perceptible_difference <= 255:
            raise ConfigError(
                f"perceptible_difference must be above 0 and at most 255, got {self.perceptible_difference}"
            )
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")


def run_audit(
    pretext: PretextParams, frame_times: list[FrameTimes], store: Mapping[str, Clip], params: AuditParams
) -> dict[str, Any]:
    """Generate new samples of every kind and try the probe on them; returns the content of `audit.json`.

    `verdict` is "leak" (on our frames the probe beats the best blind answer in a gated kind), "passed" (it does not,
    and on the published frames it does), or "inconclusive" (it beats it on neither: there are too few videos or
    samples). The result is deterministic. Raises SourceError with fewer than two videos.
    """
    num_sources = len({source_of(video.video_id) for video in frame_times})
    if num_sources < 2:
        raise SourceError(
            f"the audit needs at least 2 videos, to train the probe and to test it, got {num_sources}: add videos"
        )
    kinds, skipped_kinds = _select_kinds(pretext, frame_times)
    renderings = {kind: _renderings_of(kind) for kind in kinds}
    samples = _generate_samples(pretext, frame_times, kinds, params)
    features = measure_features(pretext.tasks, samples, renderings, store)
    # Bonferroni: the intervals of all gated kinds hold together with probability `confidence`.
    level = 1 - (1 - params.confidence) / len(GATED_KINDS)
    findings = []
    pairs = [(kind, rendering.name) for kind in kinds for rendering in renderings[kind]]
    for kind, rendering in tqdm(pairs, desc="probe", unit="kind"):
        probe_samples = build_probe_samples(pretext.tasks[kind.split("/")[0]], features.rendered[kind, rendering])
        rng = np.random.default_rng(params.seed)
        findings.append(compute_finding(kind, rendering, probe_samples, params.folds, level, rng))
    return {
        "verdict": _verdict(findings),
        "gated": list(GATED_KINDS),
        "level": level,
        "videos": num_sources,
        "statistics": list(STATISTICS),
        "ways": {rendering.name: rendering.description for rendering in RENDERINGS.values()},
        "findings": [finding.as_row() for finding in findings],
        "perceptible_difference": params.perceptible_difference,
        "perceptibility": [_perceptibility_row(kind, features.differences[kind], params) for kind in kinds],
        "left_out": skipped_kinds,
    }


def write_audit(result: Mapping[str, Any], reports: Path) -> Path:
    """Write `audit.json` and the self-contained `audit.html` into the folder `reports`; returns the page's path."""
    write_text(reports / "audit.json", json.dumps(result, indent=1) + "\n")
    page = reports / "audit.html"
    write_text(page, render_page(result))
    return page


def _select_kinds(pretext: PretextParams, frame_times: list[FrameTimes]) -> tuple[list[str], dict[str, str]]:
    """The kinds that can be generated with these parameters and videos; and for each other kind, the reason."""
    kinds, skipped_kinds = [], {}
    for task, cls in TASKS.items():
        for variant in cls.variants:
            try:
                fits = any(pretext.tasks[task].fits(item, variant) for item in frame_times)
            except ConfigError as error:
                skipped_kinds[kind_name(task, variant)] = str(error)
                continue
            if fits:
                kinds.append(kind_name(task, variant))
            else:
                skipped_kinds[kind_name(task, variant)] = "no video is long enough"
    return kinds, skipped_kinds


def _renderings_of(kind: str) -> list[Rendering]:
    return list(RENDERINGS.values()) if kind in _COMPARED_KINDS else [RENDERINGS["ours"]]


def _generate_samples(
    pretext: PretextParams, frame_times: list[FrameTimes], kinds: list[str], params: AuditParams
) -> list[Sample]:
    train_set = TrainSet(params.num_samples * len(kinds), dict.fromkeys(kinds, 1.0))
    return build_train(replace(pretext, train=train_set, seed=params.seed), frame_times)


def _verdict(findings: list[Finding]) -> str:
    gated = [finding for finding in findings if finding.kind in GATED_KINDS]
    ours = [finding for finding in gated if finding.rendering == "ours"]
    if any(finding.is_above_blind for finding in ours):
        return "leak"
    # No gain on our frames proves something only if the same probe has a gain on frames that carry traces.
    is_sensitive = any(finding.is_above_blind for finding in gated if finding.rendering == "reference")
    return "passed" if ours and is_sensitive else "inconclusive"


def _perceptibility_row(kind: str, differences: list[float], params: AuditParams) -> dict[str, Any]:
    is_visible = [difference >= params.perceptible_difference for difference in differences]
    return {
        "kind": kind,
        "samples": len(differences),
        "share": round(sum(is_visible) / len(is_visible), 4),
        "median": round(float(np.median(differences)), 3),
        "least": round(min(differences), 3),
    }
