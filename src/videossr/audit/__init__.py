"""Can a puzzle be solved without looking? A probe that sees compression, noise, sharpness and size alone tries.

Frames that are written to lossy files after the edit carry the answer in their compression (measured on the published
way of writing them); frames that are rendered in memory do not. The audit shows both, on the same puzzles, with the
same probe.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from videossr.audit.features import measure_features
from videossr.audit.findings import Finding, find
from videossr.audit.page import render_page
from videossr.audit.puzzles import posed
from videossr.audit.renderings import RENDERINGS
from videossr.audit.statistics import STATISTICS
from videossr.clip import Clip
from videossr.dataset.build import build_train
from videossr.dataset.params import PretextParams, TrainSet
from videossr.errors import ConfigError, SourceError
from videossr.pretext import TASKS
from videossr.records import FrameTimes
from videossr.storage.atomic import write_text

__all__ = ["GATED", "AuditParams", "Finding", "audit", "write_audit"]

# The edits that leave every statistic of a frame alone: what is found in them was written there.
GATED = ("grounding/mirror", "grounding/rotate_180", "grounding/channel_swap", "grounding/shuffle")
_COMPARED = (*GATED, "counting/easy", "counting/hard")


@dataclass(frozen=True)
class AuditParams:
    """Puzzles of each kind, cross-validation folds, the mean difference (0..255) that can be seen, and the seed.

    `confidence` is that of all gated intervals together.
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
            raise ConfigError(f"folds must be at least 2: the probe is judged on other videos, got {self.folds}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must be between 0 and 1, got {self.confidence}")
        if not 0 < self.perceptible_difference <= 255:
            raise ConfigError(
                f"perceptible_difference must be above 0 and at most 255, got {self.perceptible_difference}"
            )
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")


def audit(
    pretext: PretextParams, footage: list[FrameTimes], store: Mapping[str, Clip], params: AuditParams
) -> dict[str, Any]:
    """Pose fresh puzzles of every kind and let the probe try them; returns what `audit.json` holds.

    `verdict` is "passed" (no gated kind is solved above the blind floor on our frames, and the probe does solve the
    published way's), "leak", or "inconclusive" (too few videos to tell). The same arguments give the same result.
    Raises SourceError where there are not two videos.
    """
    if len(footage) < 2:
        raise SourceError(f"the audit trains on some videos and judges on others, got {len(footage)}: add videos")
    kinds, left_out = _askable(pretext, footage)
    wanted = TrainSet(params.num_samples * len(kinds), dict.fromkeys(kinds, 1.0))
    samples = build_train(replace(pretext, train=wanted, seed=params.seed), footage)
    ways = {kind: list(RENDERINGS.values()) if kind in _COMPARED else [RENDERINGS["ours"]] for kind in kinds}
    seen = measure_features(pretext.tasks, samples, ways, store)
    level = 1 - (1 - params.confidence) / len(GATED)
    findings = []
    for kind, way in tqdm([(name, way) for name in kinds for way in ways[name]], desc="probe", unit="kind"):
        puzzles = posed(pretext.tasks[kind.split("/")[0]], seen.shown[kind, way.name])
        rng = np.random.default_rng(params.seed)
        findings.append(find(kind, way.name, puzzles, params.folds, level, rng))
    return {
        "verdict": _verdict(findings),
        "gated": list(GATED),
        "level": level,
        "videos": len(footage),
        "statistics": list(STATISTICS),
        "ways": {way.name: way.says for way in RENDERINGS.values()},
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "perceptible_difference": params.perceptible_difference,
        "perceptibility": [_perceptibility(kind, seen.differences[kind], params) for kind in kinds],
        "left_out": left_out,
    }


def write_audit(result: Mapping[str, Any], reports: Path) -> Path:
    """Write `audit.json` and the self-contained `audit.html` into the folder `reports`; returns the page's path."""
    write_text(reports / "audit.json", json.dumps(result, indent=1) + "\n")
    page = reports / "audit.html"
    write_text(page, render_page(result))
    return page


def _askable(pretext: PretextParams, footage: list[FrameTimes]) -> tuple[list[str], dict[str, str]]:
    """The kinds that these parameters and frames allow, and why not the others."""
    kinds, left_out = [], {}
    for task, cls in TASKS.items():
        for variant in cls.variants:
            try:
                fits = any(pretext.tasks[task].fits(item, variant) for item in footage)
            except ConfigError as error:
                left_out[f"{task}/{variant}"] = str(error)
                continue
            if fits:
                kinds.append(f"{task}/{variant}")
            else:
                left_out[f"{task}/{variant}"] = "no video is long enough"
    return kinds, left_out


def _verdict(findings: list[Finding]) -> str:
    ours = [finding for finding in findings if finding.way == "ours" and finding.kind in GATED]
    if any(finding.above for finding in ours):
        return "leak"
    # Silence proves something only where the same probe is heard on frames that do carry traces.
    heard = any(finding.above for finding in findings if finding.way == "reference" and finding.kind in GATED)
    return "passed" if ours and heard else "inconclusive"


def _perceptibility(kind: str, differences: list[float], params: AuditParams) -> dict[str, Any]:
    visible = [difference >= params.perceptible_difference for difference in differences]
    return {
        "kind": kind,
        "samples": len(differences),
        "share": round(sum(visible) / len(visible), 4),
        "median": round(float(np.median(differences)), 3),
        "least": round(min(differences), 3),
    }
