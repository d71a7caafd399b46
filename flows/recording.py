"""The MLflow runs of the stages and of the pipeline: what each records besides what a stage logs itself."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.runtime import PARAMS, section
from videossr import config
from videossr.records import Sample
from videossr.tracking import PipelineRun, Run, read_input_hashes, read_stage_costs, stage_run
from videossr.workspace import project_root

RESULTS = Path("reports/viubench.json")
LAST_PIPELINE = Path("work/pipeline/mlflow_run.json")
_ROWS_OF_A_KIND = 20  # of the tables in MLflow
_CONTEXTS = {"train": "training", "evaluate": "evaluation", "downstream": "evaluation", "report": "report"}


@contextmanager
def record_stage(name: str, resume: Path | None = None, label: str = "") -> Iterator[Run]:
    """The MLflow run of a stage (`stage_run`), with its section of the parameters and the data that it reads."""
    with stage_run(project_root(), name, {name: section(name)}, resume, label) as run:
        _log_inputs(run, read_input_hashes(Path(), name), _CONTEXTS.get(name, "input"))
        yield run


def pipeline_run() -> PipelineRun:
    """The MLflow run of this run of the pipeline, which is created when its first stage starts."""
    return PipelineRun(project_root(), config.load(PARAMS), LAST_PIPELINE)


def end_pipeline_run(pipeline: PipelineRun, status: str, outcomes: Mapping[str, Any]) -> None:
    """End the run with what each stage did and took, and the scores, if it was created."""
    run = pipeline.run
    if run is None:
        return
    for stage, outcome in outcomes.items():
        run.set_tag(f"stage.{stage}", str(outcome))
    if costs := [cost for cost in read_stage_costs(project_root()) if outcomes.get(cost.stage) == "ran"]:
        run.log_table("stages.json", [asdict(cost) for cost in costs])
        run.log_metrics({f"seconds/{cost.stage}": cost.seconds for cost in costs})
        run.log_metrics({f"cpu_seconds/{cost.stage}": cost.cpu_seconds for cost in costs})
    if status == "FINISHED" and RESULTS.exists():
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        run.log_metrics({f"viubench/{name}": row["overall"] for name, row in results["rows"].items()})
        run.log_metrics({"viubench/gain": results["gain"]["overall"]})
    run.end(status)


def first_of_each_kind(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples that a table in MLflow shows."""
    counts: Counter[str] = Counter()
    for sample in samples:
        counts[sample.kind] += 1
        if counts[sample.kind] <= _ROWS_OF_A_KIND:
            yield sample


def _log_inputs(run: Run, hashes: Mapping[str, str], context: str) -> None:
    for path, md5 in hashes.items():
        run.log_dataset(path, md5, path, context)
