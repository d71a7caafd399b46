"""Stage evaluate: VIUBench for the policy before and after training, and for those who answer without looking."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.runtime import run_stage, section
from videossr import config
from videossr.benchmarks import blind, viubench
from videossr.dataset import PretextParams, read_samples
from videossr.evaluate import EvaluateParams, evaluate, judge, samples_digest, write_scored
from videossr.frames import FrameStore
from videossr.ingest import read_manifest
from videossr.policy import folder_digest
from videossr.pretext import PretextTask
from videossr.qwen import load_policy
from videossr.records import Sample, Scored
from videossr.tracking import stage_run
from videossr.train.stage import resolve
from videossr.workspace import root

# DVC clears a stage's outputs before it runs: what a killed run had answered waits here.
WORK = Path("work/evaluate")
REPLIES = Path("reports/evaluate")
RESULTS = Path("reports/viubench.json")
POLICIES = {"before": Path("models/start"), "after": Path("models/policy")}


def main() -> None:
    params = config.build(EvaluateParams, section("evaluate"), "evaluate")
    tasks = config.build(PretextParams, section("pretext"), "pretext").tasks
    bench, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    with stage_run(root(), "evaluate", {"evaluate": section("evaluate")}) as run:
        scored = _guesses(bench, store, tasks, params.seed)
        for name, folder in POLICIES.items():
            scored[name] = ask(folder, bench, store, tasks, WORK / f"{name}.jsonl", params.batch_size)
        bootstrap = {"bootstrap_samples": params.bootstrap_samples, "seed": params.seed}
        rows = {name: viubench.summarise(items, **bootstrap) for name, items in scored.items()}
        gained = viubench.gain(scored["before"], scored["after"], **bootstrap)
        for name in scored:
            hand_over(WORK / f"{name}.jsonl", REPLIES / f"{name}.jsonl")
        viubench.write_results(RESULTS, rows, gained)
        for name, row in rows.items():
            run.metrics({f"{name}/{column}": row[column] for column in [*viubench.COLUMNS, "overall"]})
        run.metrics({"gain": gained["overall"]})
        run.artifacts([RESULTS, REPLIES])


def hand_over(source: Path, target: Path) -> None:
    """Copy a file to a new one in place of `target`, which is not written over: DVC's cache may be linked to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".partial")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def ask_viubench(folder: Path, name: str) -> list[Scored]:
    """Put today's VIUBench to another checkpoint, for a comparison outside the graph."""
    params = config.build(EvaluateParams, section("evaluate"), "evaluate")
    tasks = config.build(PretextParams, section("pretext"), "pretext").tasks
    bench, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    return ask(folder, bench, store, tasks, WORK / f"{name}.jsonl", params.batch_size)


def ask(
    folder: Path,
    samples: Sequence[Sample],
    store: FrameStore,
    tasks: Mapping[str, PretextTask],
    out: Path,
    batch_size: int,
) -> list[Scored]:
    """Put every question to the checkpoint in `folder`; answers that `out` already holds are not asked again."""
    policy = load_policy(resolve(folder))
    return evaluate(policy, samples, store, tasks, out, batch_size=batch_size, policy_id=folder_digest(folder))


def _guesses(
    bench: Sequence[Sample], store: FrameStore, tasks: Mapping[str, PretextTask], seed: int
) -> dict[str, list[Scored]]:
    """The blind rows: a random guess, and the best constant answer that the training videos teach."""
    training = {video.video_id for video in read_manifest(Path("data/manifest.parquet")) if video.split == "train"}
    footage = store.footage()
    examples = blind.training_examples(
        read_samples(Path("data/samples/train.parquet")),
        [item for item in footage if item.video_id in training],
        tasks,
        seed,
    )
    replies = {
        "random": blind.random_answers(bench, footage, seed),
        "constant": blind.constant_answers(bench, examples, footage),
    }
    scored = {
        name: [judge(sample, reply, tasks) for sample, reply in zip(bench, said, strict=True)]
        for name, said in replies.items()
    }
    for name, items in scored.items():
        write_scored(WORK / f"{name}.jsonl", items, {"samples": samples_digest(bench), "policy": name})
    return scored


if __name__ == "__main__":
    run_stage(main, "evaluate")
