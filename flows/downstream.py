"""Stage downstream: public benchmarks, or made ones, for guesses and for the policy without video, before and after.

Replies are stored in work/, outside the graph, so that a killed run continues.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.recording import record_stage
from flows.runtime import params_of, run_stage
from videossr.evaluation.benchmarks import Items, load
from videossr.evaluation.benchmarks.local_copy import find_benchmark_videos
from videossr.evaluation.benchmarks.scoring import Replies
from videossr.evaluation.downstream import Answers, ReplyStore, answer_items, read_answers
from videossr.evaluation.downstream.comparison import compare
from videossr.evaluation.downstream.guesses import guess_answers, write_guesses
from videossr.evaluation.downstream.params import DownstreamParams
from videossr.evaluation.downstream.results import summarise
from videossr.evaluation.downstream.store import errors_path
from videossr.evaluation.made_benchmarks import make_benchmarks
from videossr.models.checkpoint import answer_settings, load_policy, resolve_checkpoint
from videossr.models.policy import BlindPolicy, BriefPolicy, Policy
from videossr.storage.atomic import atomic_folder, copy_file, write_json, write_text
from videossr.storage.fingerprint import folder_fingerprint
from videossr.tracking import POLICY_TAG, Run

WORK = Path("work/downstream")
MADE = Path("data/made_benchmarks")
REPLIES = Path("reports/downstream")
RESULTS = Path("reports/downstream.json")
CHECKPOINTS = {"blind": Path("models/policy"), "before": Path("models/start"), "after": Path("models/policy")}


def main() -> None:
    params = params_of("downstream", DownstreamParams)
    with record_stage("downstream") as run:
        _make_or_empty(params)
        benchmarks = {key: load_items(key, params) for key in params.benchmarks}
        for key, items in benchmarks.items():
            annotations, _ = params.folders(key, MADE)
            run.log_dataset(items.benchmark.title, items.digest, str(annotations))
        rows: dict[str, dict[str, Any]] = {}
        given: dict[str, dict[str, Replies]] = {}
        options = {"num_resamples": params.bootstrap_samples, "seed": params.seed}
        with atomic_folder(REPLIES) as replies:
            for name in params.policies:
                rows[name], given[name] = {}, {}
                for key, answers in _answer(name, benchmarks, params):
                    items = benchmarks[key].first(params.limit)
                    given[name][key] = answers.for_scoring
                    rows[name][key] = summarise(items, answers.for_scoring, **options)
                    copy_file(answers.path, replies / name / f"{key}.jsonl")
                    if answers.errors:
                        copy_file(errors_path(answers.path), replies / name / f"{key}.errors.jsonl")
        results = {
            "made": params.is_made,
            "protocol": params.protocol,
            "limit": params.limit,
            "frames": params.frames,
            "fps": params.fps,
            "max_pixels": params.max_pixels,
            "reply_tokens": params.reply_tokens,
            "answers": answer_settings(),
            "rows": rows,
            "gains": {
                key: compare(
                    items.first(params.limit), given["before"][key], given["after"][key], **options
                ).as_record()
                for key, items in benchmarks.items()
                if {"before", "after"} <= given.keys()
            },
        }
        write_json(RESULTS, results)
        _log(run, rows)
        run.log_artifacts([RESULTS, REPLIES])
        run.set_tag(POLICY_TAG, folder_fingerprint(CHECKPOINTS["after"]))


def _make_or_empty(params: DownstreamParams) -> None:
    """Write the made benchmarks; where none is used, a note alone: DVC warns of an output that is an empty folder."""
    if params.is_made and params.benchmarks:
        make_benchmarks(MADE, params.seed)
    else:
        with atomic_folder(MADE) as folder:
            write_text(folder / "README.txt", "No made benchmarks: this run has others, or none.\n")


def load_items(key: str, params: DownstreamParams) -> Items:
    """The questions of a benchmark; made ones are fewer than the published ones."""
    return load(key, params.folders(key, MADE)[0], counts=not params.is_made)


def _answer(name: str, benchmarks: dict[str, Items], params: DownstreamParams) -> Iterator[tuple[str, Answers]]:
    """The answers of a row to each benchmark; its policy is loaded once."""
    if name == "random":
        for key, items in benchmarks.items():
            yield key, _guess(items, params)
        return
    if not benchmarks:
        return
    yield from ask(CHECKPOINTS[name], benchmarks, params, WORK / name, is_blind=name == "blind")


def ask(
    checkpoint: Path, benchmarks: dict[str, Items], params: DownstreamParams, out: Path, *, is_blind: bool = False
) -> Iterator[tuple[str, Answers]]:
    """The answers of the policy in `checkpoint` to each benchmark; those that are in `out` are not asked again."""
    policy: Policy = load_policy(resolve_checkpoint(checkpoint))
    if params.reply_tokens is not None:
        policy = BriefPolicy(policy, params.reply_tokens)
    policy_id = folder_fingerprint(checkpoint)
    if is_blind:
        policy, policy_id = BlindPolicy(policy), f"blind {policy_id}"
    for key, items in benchmarks.items():
        yield (
            key,
            answer_items(
                policy,
                items,
                find_benchmark_videos(items, params.folders(key, MADE)[1]),
                out,
                budget=params.budget,
                protocol=params.protocol,
                policy_id=policy_id,
                batch_size=params.batch_size,
                limit=params.limit,
            ),
        )


def _guess(items: Items, params: DownstreamParams) -> Answers:
    header = {"benchmark": items.benchmark.key, "items": items.digest, "policy": f"random guess, seed {params.seed}"}
    store = ReplyStore(WORK / "random", header)
    write_guesses(store, guess_answers(items.first(params.limit), params.seed))
    return read_answers(store.path)


def _log(run: Run, rows: dict[str, dict[str, Any]]) -> None:
    """Metrics by row and benchmark, and of the benchmark's number also by group."""
    for name, records in rows.items():
        for key, record in records.items():
            metrics = {f"{name}/{key}/{metric}": column["mean"] for metric, column in record["columns"].items()}
            for group, values in record["groups"].items():
                for value, columns in values.items():
                    if record["metric"] in columns:
                        metrics[f"{name}/{key}/{group}/{value}"] = columns[record["metric"]]["mean"]
            run.log_metrics({_metric_name(metric): value for metric, value in metrics.items()})


def _metric_name(text: str) -> str:
    """The text without the characters that MLflow refuses in the name of a metric, such as `R1@0.5`."""
    return re.sub(r"[^\w\-./ ]", " ", text)


if __name__ == "__main__":
    run_stage(main, "downstream")
