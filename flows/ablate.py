"""Run an ablation of the paper: each variant as a DVC experiment, recorded in MLflow, ending in a table and a figure.

Not a stage. `work/ablations` holds the replies of each finished variant: after a kill, only the others are run.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import experiments
from flows.runtime import PARAMS, user_message
from videossr.ablation.page import write_ablation
from videossr.ablation.results import REPLIES, VariantReplies, compare_variants, read_replies
from videossr.ablation.variants import Ablation, Variant, overrides, plan_ablation
from videossr.errors import ConfigError, VideoSSRError
from videossr.evaluation.viubench import MEANS
from videossr.ingest.remote import is_url
from videossr.ingest.snapshot import take_snapshot
from videossr.ingest.sources import is_description
from videossr.recipe import Recipe, load_recipe
from videossr.storage.atomic import atomic_folder, write_bytes, write_text
from videossr.storage.fingerprint import code_fingerprint
from videossr.terminal import configure_output
from videossr.tracking import Run, child_runs, stage_run
from videossr.train.params import TINY_RANDOM
from videossr.workspace import configure_tools, project_root

WORK = Path("work/ablations")
REPORTS = Path("reports/ablations")
MADE_VIDEOS = Path("data/made_videos")
TARGET = "evaluate"  # the last stage that a variant needs
# The code on which the results of a variant depend.
CODE = (
    *("clip.py", "config.py", "records.py", "rewards.py", "dataset/*.py", "decode/*.py", "evaluation/*.py"),
    *("frames/*.py", "gates/*.py", "ingest/*.py", "models/*.py", "pretext/*.py", "storage/*.py", "train/*.py"),
)
START = "models/start"
FILES = ("reports/train.json", "reports/viubench.json", *(f"reports/evaluate/{name}.jsonl" for name in REPLIES))


@dataclass(frozen=True)
class VariantRun:
    """One variant with one seed: the experiment's name, the changed parameters, and the folder of its results."""

    variant: Variant
    seed: int
    name: str
    changes: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return WORK / self.name

    @property
    def is_done(self) -> bool:
        return self.folder.is_dir()

    @property
    def recorded(self) -> Path:
        """It exists when MLflow has the results."""
        return self.folder / "recorded.txt"


def run_ablation(name: str, seeds: Sequence[int], quick: bool) -> Path:
    """Run what is missing of an ablation, and write its report; returns the page's path. Raises VideoSSRError."""
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ from each other, got {' '.join(map(str, seeds))}")
    recipe = load_recipe(PARAMS)
    ablation = plan_ablation(name, recipe.pretext, recipe.train, recipe.frames.num_frames, quick=quick)
    experiments.require_commit(project_root())
    key = _key(recipe)
    parameters = {"ablation": name, "quick": quick, "seeds": list(seeds), "steps": ablation.steps}
    resume = WORK / f"{name}-{hashlib.sha256(json.dumps([key, parameters]).encode()).hexdigest()[:8]}.json"
    batches = _batches(ablation, seeds, recipe, key)
    runs = [run for batch in batches for run in batch]
    if all(run.recorded.exists() for run in runs):  # nothing to do but the report
        return write_ablation(compare_variants(ablation, _replies(runs), seeds, recipe.evaluate), REPORTS)
    with stage_run(project_root(), f"ablation {name}", parameters, resume=resume) as parent:
        for batch in batches:
            _run_missing(batch)
            for run in batch:
                _record(run, parent)
        result = compare_variants(ablation, _replies(runs), seeds, recipe.evaluate)
        page = write_ablation(result, REPORTS)
        parent.log_metrics({f"{row['name']}/gain": row["gain"]["overall"] for row in result["variants"]})
        parent.log_artifacts([REPORTS / f"{name}.{suffix}" for suffix in ("json", "png", "html")])
    return page


def _batches(ablation: Ablation, seeds: Sequence[int], recipe: Recipe, key: str) -> list[list[VariantRun]]:
    """First the whole mixture with every seed, which makes the starts; then everything else, from these starts.

    A checkpoint is its own start.
    """
    whole, *others = ablation.variants
    starts = {seed: None if recipe.train.policy == TINY_RANDOM else _absolute(recipe.train.policy) for seed in seeds}
    first = [_variant_run(ablation, whole, seed, starts[seed], recipe, key) for seed in seeds]
    if recipe.train.policy == TINY_RANDOM:
        starts = {run.seed: str((run.folder / "start").resolve()) for run in first}
    rest = [_variant_run(ablation, variant, seed, starts[seed], recipe, key) for seed in seeds for variant in others]
    return [first, rest]


def _absolute(policy: str) -> str:
    """A checkpoint's folder as an absolute path, because an experiment runs in another folder; a name as it is."""
    return str(Path(policy).resolve()) if Path(policy).is_dir() else policy


def _variant_run(
    ablation: Ablation, variant: Variant, seed: int, start: str | None, recipe: Recipe, key: str
) -> VariantRun:
    changes = overrides(ablation, variant, seed, start)
    source = Path(recipe.ingest.source).expanduser()
    if "ingest.source" not in changes and not is_url(recipe.ingest.source) and not is_description(source):
        changes["ingest.source"] = str(source.resolve())
    digest = hashlib.sha256(json.dumps([key, changes], sort_keys=True).encode()).hexdigest()[:8]
    name = f"{ablation.name}-{'quick-' if ablation.quick else ''}{variant.name}-seed{seed}-{digest}"
    return VariantRun(variant, seed, name, changes)


def _key(recipe: Recipe) -> str:
    """What every variant depends on besides its own changes: parameters, code and files of the source."""
    snapshot = take_snapshot(recipe.ingest.source, MADE_VIDEOS)
    code = code_fingerprint(CODE, ("torch", "transformers", "trl"))
    return hashlib.sha256(f"{PARAMS.read_text(encoding='utf-8')} {code} {snapshot!r}".encode()).hexdigest()


def _run_missing(batch: Sequence[VariantRun]) -> None:
    """Run the experiments of a batch that have no results yet, and fetch the results of each."""
    missing = [run for run in batch if not run.is_done]
    experiments.run_queued({run.name: run.changes for run in missing}, TARGET, project_root())
    for run in missing:
        with atomic_folder(run.folder) as temporary:
            for path in FILES:
                write_bytes(temporary / Path(path).name, experiments.read_output(run.name, path))
            if run.changes.get("train.policy") is None:
                experiments.fetch_output(run.name, START, temporary / "start")


def _record(run: VariantRun, parent: Run) -> None:
    """Record a finished variant as a child of the ablation's run in MLflow, once."""
    if run.recorded.exists():
        return
    resume = run.folder / "mlflow_run.json"
    row = json.loads((run.folder / "viubench.json").read_text(encoding="utf-8"))
    label = f"{run.variant.name} seed {run.seed}"
    with child_runs(parent), stage_run(project_root(), "variant", run.changes, resume=resume, label=label) as child:
        child.log_metrics({f"after/{mean}": row["rows"]["after"][mean] for mean in MEANS})
        child.log_metrics({"gain": row["gain"]["overall"]})
    write_text(run.recorded, "")


def _replies(finished: Sequence[VariantRun]) -> dict[str, VariantReplies]:
    folders: dict[str, dict[int, Path]] = {}
    for run in finished:
        folders.setdefault(run.variant.name, {})[run.seed] = run.folder
    return {name: read_replies(by_seed) for name, by_seed in folders.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    configure_tools(project_root())
    configure_output()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        page = run_ablation(arguments.ablation, arguments.seeds, arguments.quick)
    except (VideoSSRError, OSError) as error:
        message = user_message(error)
        if message is None:
            raise
        sys.exit(f"videossr: {message}")
    print(f"{page}: the table and the figure; {page.with_suffix('.json')}: the numbers")


if __name__ == "__main__":
    main()
