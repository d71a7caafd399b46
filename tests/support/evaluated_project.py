"""A project as the stages leave it: policies, samples, replies and results on disk, and a `dvc.lock` that DVC wrote.

Its graph is the data of the real one, from `pretext` on; its commands do nothing, because the tests write the outputs.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from tests.support import ROOT
from videossr.dataset.samples import write_samples
from videossr.evaluation.runner import samples_digest, score_reply, write_scored_replies
from videossr.evaluation.viubench import COLUMNS, gain, summarise, write_results
from videossr.records import Sample, ScoredReply
from videossr.storage.atomic import write_text
from videossr.storage.fingerprint import folder_fingerprint

STAGES = ("pretext", "train", "evaluate", "downstream", "report")
ANSWERS = {"counting": "1,0,2", "grounding": "1.0-2.0", "jigsaw": "21"}
BOOTSTRAP: dict[str, Any] = {"bootstrap_samples": 200, "seed": 0}


def make_evaluated_project(folder: Path) -> Path:
    """Write parameters and graph to `folder`; `write_outputs` and `commit` add what a run leaves."""
    folder.mkdir(parents=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pretext"]["grounding"]["num_frames"] = 8
    params["ingest"]["licence"] = ""
    params["downstream"] |= {"benchmarks": [], "no_loss_on": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": _graph()}))
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return folder


def _graph() -> dict[str, Any]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    kept = {name: stages[name] for name in STAGES}
    made = {_name(item) for stage in kept.values() for item in [*stage["outs"], *stage.get("metrics", [])]}
    return {
        name: {**stage, "cmd": "true", "deps": [path for path in stage.get("deps", []) if path in made]}
        for name, stage in kept.items()
    }


def _name(item: Any) -> str:
    return item if isinstance(item, str) else str(next(iter(item)))


def bench_samples(num_videos: int = 12, set_name: str = "a") -> list[Sample]:
    """One question of every column for each video; another `set_name` gives other questions."""
    return [
        Sample(f"{set_name}-{column}-{video}", task, variant, f"video{video}", {}, "When?", ANSWERS[task])
        for video in range(num_videos)
        for column, (task, variant) in COLUMNS.items()
    ]


def replies(samples: Sequence[Sample], share_correct: float) -> list[ScoredReply]:
    """Replies that are right for a share of the videos, and cannot be parsed for the others."""
    videos = list(dict.fromkeys(sample.video_id for sample in samples))
    right = set(videos[: round(share_correct * len(videos))])
    return [score_reply(sample, sample.answer if sample.video_id in right else "?") for sample in samples]


def write_policy(folder: Path, name: str, checkpoint: Path | None = None) -> None:
    """What `train` writes: a copy of `checkpoint`, or no weights. Policies of different names have different bytes."""
    _replace(folder / "models")
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder / "models" / "policy")
    write_text(folder / "models" / "policy" / "notes.txt", name)
    write_text(folder / "models" / "start" / "policy.json", json.dumps({"policy": "none"}))
    write_text(folder / "reports" / "train.json", "{}")


def write_evaluation(folder: Path, share_correct: float, samples: Sequence[Sample] | None = None) -> None:
    """What `pretext`, `evaluate` and `report` write for the policy in `models/policy`."""
    bench = bench_samples() if samples is None else list(samples)
    for name in ("train", "viubench"):
        write_samples(folder / "data" / "samples" / f"{name}.parquet", bench)
    shares = {"random": 0.0, "constant": 0.25, "blind": 0.25, "before": 0.25, "after": share_correct}
    scored = {name: replies(bench, share) for name, share in shares.items()}
    _replace(folder / "reports" / "evaluate")
    for name, items in scored.items():
        policy = folder_fingerprint(folder / "models" / "policy") if name == "after" else name
        header = {"samples": samples_digest(bench), "policy": policy}
        write_scored_replies(folder / "reports" / "evaluate" / f"{name}.jsonl", items, header)
    rows = {name: summarise(items, **BOOTSTRAP) for name, items in scored.items()}
    gain_row = gain(scored["before"], scored["after"], **BOOTSTRAP)
    write_results(folder / "reports" / "viubench.json", rows, gain_row, {})
    for output in ("data/made_benchmarks", "reports/downstream"):
        write_text(folder / output / "README.txt", "no benchmark")
    write_text(folder / "reports" / "downstream.json", json.dumps({"made": True, "rows": {}, "gains": {}}))
    write_text(folder / "reports" / "index.html", f"<p>{share_correct}</p>")
    _replace(folder / "reports" / "gallery")
    write_text(folder / "reports" / "gallery" / "index.html", f"<p>{share_correct}</p>")
    write_text(folder / "reports" / "figures" / "viubench.png", "")
    write_text(folder / "reports" / "plots" / "scores.csv", "")


def commit(folder: Path) -> None:
    """Let DVC record the present outputs in `dvc.lock`, as a run of all stages does."""
    with Repo(str(folder)) as repo:
        repo.commit(force=True)


def write_run(folder: Path, name: str, share_correct: float, checkpoint: Path | None = None) -> None:
    """A whole run: the policy, its evaluation, and `dvc.lock`."""
    write_policy(folder, name, checkpoint)
    write_evaluation(folder, share_correct)
    commit(folder)


def _replace(folder: Path) -> None:
    # DVC links outputs into its cache: a folder of them is replaced, never written into.
    shutil.rmtree(folder, ignore_errors=True)
