"""The evidence for a registered model: policy, samples, replies and results that belong together, and to `dvc.lock`.

`dvc.lock` holds the hash of everything that a stage read and wrote. It must show that each stage read what the stage
before it wrote last, and the files on disk must have these hashes. A `dvc commit` after an edit makes both true, so the
replies are also compared with the policy, the samples and the results.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from videossr.dataset.samples import read_samples
from videossr.errors import PolicyError
from videossr.evaluation import viubench
from videossr.evaluation.runner import read_scored_replies, samples_digest, score_reply
from videossr.storage.fingerprint import folder_fingerprint
from videossr.storage.jsonl import read_jsonl

POLICY = Path("models/policy")
SAMPLES = Path("data/samples/viubench.parquet")
REPLIES = Path("reports/evaluate")
RESULTS = Path("reports/viubench.json")
DOWNSTREAM, DOWNSTREAM_RESULTS = Path("reports/downstream"), Path("reports/downstream.json")
PAGE = Path("reports/index.html")
_ON_DISK = (POLICY, SAMPLES, REPLIES, RESULTS, DOWNSTREAM, DOWNSTREAM_RESULTS, PAGE)
_REMEDY = "run the pipeline (make run) and promote then"


def require_evidence(project: Path) -> None:
    """Raise PolicyError, with the first fault, where the outputs of `project` are not those of one run.

    The working directory is the project.
    """
    if not (project / "dvc.lock").exists():
        raise PolicyError("there is no trained policy to register: run the pipeline first (make run)")
    for fault in chain(_faults_of_graph(project), _faults_of_replies()):
        raise PolicyError(f"{fault}: {_REMEDY}")


def _faults_of_graph(project: Path) -> Iterator[str]:
    """Differences between `dvc.lock`, `params.yaml` and the files on disk, each as a sentence."""
    try:
        with Repo(str(project)) as repo:
            stages = [stage for stage in repo.index.stages if not stage.is_data_source]
            written = {out.fs_path: out for stage in stages for out in stage.outs if not stage.always_changed}
            for stage in stages:
                yield from _faults_of_stage(stage, written)
            for path in _ON_DISK:
                yield from _faults_of_output(path, written[str(project / path)])
    except DvcException as error:
        yield f"DVC cannot read {project / 'dvc.lock'} ({error})"


def _faults_of_stage(stage: Any, written: dict[str, Any]) -> Iterator[str]:
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            names = [name for changes in dependency.status().values() for name in changes]
            if names:
                yield f"params.yaml has another '{names[0]}' than the last run of the stage {stage.addressing}"
        elif dependency.fs_path in written and dependency.hash_info != written[dependency.fs_path].hash_info:
            yield f"the stage {stage.addressing} has not run on the present {dependency}"


def _faults_of_output(path: Path, out: Any) -> Iterator[str]:
    if not out.exists:
        yield f"{path} is missing"
    elif out.changed_checksum():
        yield f"{path} is not what the stage {out.stage.addressing} wrote: its hash differs from the one in dvc.lock"


def _faults_of_replies() -> Iterator[str]:
    """Differences between the policy, the samples, the replies and the results, each as a sentence."""
    samples, after = read_samples(SAMPLES), REPLIES / "after.jsonl"
    for path in (after, REPLIES / "constant.jsonl"):
        if header_of(path).get("samples") != samples_digest(samples):
            yield f"{path} holds replies to other samples than {SAMPLES}"
    for path in (after, *sorted((DOWNSTREAM / "after").glob("*.jsonl"))):
        if header_of(path).get("policy") != folder_fingerprint(POLICY):
            yield f"{path} holds replies of another policy than {POLICY}"
    scored = read_scored_replies(after)
    if len(scored) != len(samples):
        yield f"{after} holds {len(scored)} replies to {len(samples)} samples"
    elif scored != [score_reply(sample, item.reply) for sample, item in zip(samples, scored, strict=True)]:
        yield f"{after} holds other scores than its replies have"
    row = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]["after"]
    means = viubench.summarise(scored, bootstrap_samples=1, seed=0)
    if any(row.get(name) != means[name] for name in viubench.MEANS):
        yield f"{RESULTS} holds other scores than the replies in {after}"


def header_of(path: Path) -> dict[str, Any]:
    """What a file of replies answers: the hash of its samples, and its policy. Empty where the file is damaged."""
    lines = read_jsonl(path)
    return dict(lines[0].get("header", {})) if lines else {}
