"""Hold a new batch of videos against those that the champion was trained on, or against the project's own."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from videossr import tracking
from videossr.drift.comparison import Drift, DriftParams, find_drift
from videossr.drift.page import render_page
from videossr.drift.profile import Profile, measure_profile
from videossr.errors import ConfigError
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import ingest, require_usable
from videossr.ingest.manifest import read_manifest
from videossr.ingest.snapshot import take_snapshot
from videossr.paths import FRAMES, MANIFEST, PARAMS, QUARANTINE, REPORTS, require_file
from videossr.recipe import Recipe, load_recipe
from videossr.storage.atomic import write_json, write_text
from videossr.storage.quarantine import read_quarantine
from videossr.workspace import project_root, selected_workers

WORK = Path("work/drift")  # inspected files and frames of new batches, so that a second look is quick
PROFILE_ARTIFACT = "drift/profile.json"  # of a registered version


def compare_batch(source: str, params: DriftParams, reports: Path = REPORTS) -> Drift:
    """Measure the batch `source`, compare it, write page and JSON to `reports`, and record it as a run in MLflow.

    Raises VideoSSRError where the batch or the reference cannot be measured.
    """
    recipe = load_recipe(PARAMS)
    before, reference = reference_profile(recipe)
    now = measure_batch(source, recipe)
    drift = find_drift(before, now, params)
    settings = {"alpha": params.alpha, "min_effect": params.min_effect}
    with tracking.stage_run(project_root(), "drift", {"source": source, "reference": reference, **settings}) as run:
        page, record = reports / "drift.html", reports / "drift.json"
        write_text(page, render_page(drift, before, now, params, source, reference))
        write_json(record, {"source": source, "reference": reference, **settings, **drift.as_json()})
        run.log_metrics({f"effect/{_metric_name(finding.name)}": finding.effect for finding in drift.findings})
        run.log_metrics({"drifted": len(drift.drifted), "videos": now.num_videos, "rejected": now.num_rejected})
        run.log_artifacts([page, record])
    return drift


def reference_profile(recipe: Recipe) -> tuple[Profile, str]:
    """The profile of the data that the champion was trained on, and what it is in words.

    It was stored when the champion was registered. Without a champion, it is that of the project's present data.
    """
    version = tracking.champion(project_root())
    if version is None:
        return measure_project(recipe), "the project's present videos, because there is no champion yet"
    stored = tracking.load_artifact(project_root(), version, PROFILE_ARTIFACT)
    if stored is None:
        raise ConfigError(
            f"the champion, version {version.number}, was registered without a profile of its videos: train and "
            "promote again"
        )
    profile = Profile.from_json(json.loads(stored.read_text(encoding="utf-8")))
    return profile, f"the videos that the champion, version {version.number}, was trained on"


def measure_project(recipe: Recipe) -> Profile:
    """The profile of the project's training videos, and of the files that its source had refused."""
    videos = [video for video in read_manifest(require_file(MANIFEST)) if video.split == "train"]
    rejected = read_quarantine(require_file(QUARANTINE))
    return measure_profile(videos, rejected, FrameStore(FRAMES), recipe.pretext)


def measure_batch(source: str, recipe: Recipe) -> Profile:
    """The profile of new videos, inspected and decoded with the parameters of the run."""
    work = WORK / hashlib.sha256(source.encode()).hexdigest()[:16]
    made, workers = work / "made_videos", selected_workers()
    inventory = ingest(
        replace(recipe.ingest, source=source),
        take_snapshot(source, made),
        made,
        workers,
        min_frames=recipe.frames.num_frames,
        span=recipe.frames.span,
        fetched_dir=work / "fetched",
        work_dir=work,
    )
    require_usable(inventory, source)
    rejected = write_store(inventory.videos, work / "frames", recipe.frames, workers, work / "shards")
    store = FrameStore(work / "frames")
    return measure_profile(inventory.videos, [*inventory.rejected, *rejected], store, recipe.pretext)


def _metric_name(text: str) -> str:
    """The name of a property without the characters that MLflow refuses."""
    return text.replace("(s)", "in seconds")
