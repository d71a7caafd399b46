"""Stage evaluate: VIUBench of the policy before and after training, of the latter without the video, and of guesses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.recording import first_of_each_kind, record_stage
from flows.runtime import params_of, run_stage
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.evaluation import baselines, viubench
from videossr.evaluation.runner import EvaluateParams, evaluate, samples_digest, score_reply, write_scored_replies
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest
from videossr.models.checkpoint import answer_settings, load_policy, resolve_checkpoint
from videossr.models.policy import BlindPolicy
from videossr.pretext import PretextTask
from videossr.records import Sample, ScoredReply
from videossr.storage.atomic import copy_file
from videossr.storage.fingerprint import folder_fingerprint
from videossr.tracking import POLICY_TAG

# DVC deletes a stage's outputs before the stage runs. Replies are stored here, so that a killed run can continue.
WORK = Path("work/evaluate")
REPLIES = Path("reports/evaluate")
RESULTS = Path("reports/viubench.json")
POLICIES = {"before": Path("models/start"), "after": Path("models/policy")}


def main() -> None:
    params = params_of("evaluate", EvaluateParams)
    tasks = params_of("pretext", PretextParams).tasks
    bench, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    with record_stage("evaluate") as run:
        scored = _score_guesses(bench, store, tasks, params.seed)
        for name, folder in POLICIES.items():
            scored[name] = evaluate_checkpoint(folder, bench, store, tasks, WORK / f"{name}.jsonl", params.batch_size)
        scored["blind"] = _evaluate_blind(POLICIES["after"], bench, store, tasks, params.batch_size)
        bootstrap = {"bootstrap_samples": params.bootstrap_samples, "seed": params.seed}
        rows = {name: viubench.summarise(scored[name], **bootstrap) for name in viubench.ROWS}
        gain_row = viubench.gain(scored["before"], scored["after"], **bootstrap)
        for name in scored:
            copy_file(WORK / f"{name}.jsonl", REPLIES / f"{name}.jsonl")
        viubench.write_results(RESULTS, rows, gain_row, answer_settings())
        for name, row in rows.items():
            run.log_metrics({f"{name}/{mean}": row[mean] for mean in viubench.MEANS})
        run.log_metrics({"gain": gain_row["overall"]})
        run.log_artifacts([RESULTS, REPLIES])
        run.log_table("replies.json", _reply_table(bench, scored))
        run.set_tag(POLICY_TAG, folder_fingerprint(POLICIES["after"]))


def _reply_table(bench: Sequence[Sample], scored: Mapping[str, Sequence[ScoredReply]]) -> list[dict[str, Any]]:
    """The first questions of each kind, with the replies before and after training and their scores."""
    before, after = ({reply.sample_id: reply for reply in scored[name]} for name in ("before", "after"))
    return [
        {
            "kind": sample.kind,
            "sample": sample.sample_id,
            "video": sample.video_id,
            "answer": sample.answer,
            "before": before[sample.sample_id].reply,
            "score before": before[sample.sample_id].score,
            "after": after[sample.sample_id].reply,
            "score after": after[sample.sample_id].score,
        }
        for sample in first_of_each_kind(bench)
    ]


def _evaluate_blind(
    folder: Path, samples: Sequence[Sample], store: FrameStore, tasks: Mapping[str, PretextTask], batch_size: int
) -> list[ScoredReply]:
    """Score the checkpoint in `folder` without the video: it sees grey frames."""
    policy = BlindPolicy(load_policy(resolve_checkpoint(folder)))
    policy_id = f"blind {folder_fingerprint(folder)}"
    return evaluate(policy, samples, store, tasks, WORK / "blind.jsonl", batch_size=batch_size, policy_id=policy_id)


def evaluate_on_viubench(folder: Path, name: str) -> list[ScoredReply]:
    """Score the checkpoint in `folder` on the current VIUBench, for a comparison that is not a DVC stage.

    `name` is the name, without suffix, of the file of replies in `work/evaluate`.
    """
    params = params_of("evaluate", EvaluateParams)
    tasks = params_of("pretext", PretextParams).tasks
    bench, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    return evaluate_checkpoint(folder, bench, store, tasks, WORK / f"{name}.jsonl", params.batch_size)


def evaluate_checkpoint(
    folder: Path,
    samples: Sequence[Sample],
    store: FrameStore,
    tasks: Mapping[str, PretextTask],
    out: Path,
    batch_size: int,
) -> list[ScoredReply]:
    """Score the checkpoint in `folder` on `samples`; replies of this checkpoint that `out` already holds are reused."""
    policy = load_policy(resolve_checkpoint(folder))
    return evaluate(policy, samples, store, tasks, out, batch_size=batch_size, policy_id=folder_fingerprint(folder))


def _score_guesses(
    bench: Sequence[Sample], store: FrameStore, tasks: Mapping[str, PretextTask], seed: int
) -> dict[str, list[ScoredReply]]:
    """Score the guesses: a random one, and the constant answer that is best on the training videos."""
    train_ids = {video.video_id for video in read_manifest(Path("data/manifest.parquet")) if video.split == "train"}
    frame_times = store.frame_times()
    examples = baselines.training_examples(
        read_samples(Path("data/samples/train.parquet")),
        [item for item in frame_times if item.video_id in train_ids],
        tasks,
        seed,
    )
    replies = {
        "random": baselines.random_answers(bench, frame_times, seed),
        "constant": baselines.constant_answers(bench, examples, frame_times),
    }
    scored = {
        name: [score_reply(sample, reply) for sample, reply in zip(bench, answers, strict=True)]
        for name, answers in replies.items()
    }
    for name, items in scored.items():
        write_scored_replies(WORK / f"{name}.jsonl", items, {"samples": samples_digest(bench), "policy": name})
    return scored


if __name__ == "__main__":
    run_stage(main, "evaluate")
