"""Run the gate: turn records into tables, check each table by its suite, collect the outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from videossr.gates import suites
from videossr.gates.balance import balance_table
from videossr.gates.edit_rules import videos_used
from videossr.gates.engine import Outcome, open_context, run_suite
from videossr.gates.pictures import draw_pair
from videossr.gates.renders import renders_table
from videossr.gates.results import GateResult, ValidateParams
from videossr.gates.tables import (
    SETS,
    GateContext,
    StoredFrames,
    manifest_table,
    quarantine_table,
    samples_table,
    source_table,
    store_table,
)
from videossr.records import RejectedFile, Sample, Video

# The arguments of `run_suite`: name of the table, rows, suite, and the column that names a row.
PICTURES_OF_KIND = 3
Table = tuple[str, pd.DataFrame, suites.Suite, str]


def run_gate(
    manifest: Sequence[Video],
    quarantine: Sequence[RejectedFile],
    store: StoredFrames,
    sets: Mapping[str, Sequence[Sample]],
    tasks: Mapping[str, Any],
    params: ValidateParams,
    seed: int,
) -> GateResult:
    """See `videossr.gates.validate`."""
    stored_videos = store.frame_times()
    context = GateContext.of(manifest, stored_videos, tasks)
    renders = renders_table(sets, store, context, params.perceptibility_samples, np.random.default_rng(seed))
    manifest_suite = suites.manifest_suite(params, any(video.window_seconds for video in manifest))
    tables: list[Table] = [
        ("manifest", manifest_table(manifest, stored_videos, quarantine), manifest_suite, "video_id"),
        ("quarantine", quarantine_table(quarantine, manifest, stored_videos), suites.quarantine_suite(), "path"),
        ("source", source_table(manifest, quarantine), suites.source_suite(params), "source"),
        ("store", store_table(manifest, stored_videos, sets), suites.store_suite(), "video_id"),
        *_sample_tables(sets, context, renders, params),
    ]
    balance = balance_table(sets, context)
    tables.append(("balance", balance, suites.balance_suite(params), "name"))
    tables.append(("renders", renders, suites.renders_suite(renders["kind"].unique(), params), "sample_id"))
    gx_context = open_context()
    outcomes = [outcome for table in tables for outcome in run_suite(gx_context, *table)]
    statistics = _statistics({name: rows for name, rows, _, _ in tables})
    return _with_pictures(_result(outcomes, statistics), sets, store, tasks)


def _sample_tables(
    sets: Mapping[str, Sequence[Sample]], context: GateContext, renders: pd.DataFrame, params: ValidateParams
) -> Iterator[Table]:
    num_clips = dict(zip(renders["kind"], renders["num_clips"], strict=True))
    set_suites = {
        "train": suites.samples_suite("train", context.kinds, params),
        "viubench": suites.viubench_suite(context.kinds, params),
    }
    for name, samples in sets.items():
        other_ids = {sample.sample_id for other in sets if other != name for sample in sets[other]}
        yield name, samples_table(samples, SETS[name], other_ids, context, num_clips), set_suites[name], "sample_id"


def _result(outcomes: Sequence[Outcome], statistics: Mapping[str, Any]) -> GateResult:
    failures = [(outcome.check.success, outcome.failure) for outcome in outcomes if outcome.failure is not None]
    return GateResult(
        failures=tuple(failure for success, failure in failures if not success),
        warnings=tuple(failure for success, failure in failures if success),
        checks=tuple(outcome.check for outcome in outcomes),
        statistics=statistics,
    )


def _with_pictures(
    result: GateResult, sets: Mapping[str, Sequence[Sample]], store: StoredFrames, tasks: Mapping[str, Any]
) -> GateResult:
    """The result with pictures of the first samples of each kind whose edit cannot be seen."""
    by_id = {sample.sample_id: sample for samples in sets.values() for sample in samples}
    shown = [by_id[row] for failure in (*result.failures, *result.warnings) if failure.table == "renders"
             for row in failure.rows[:PICTURES_OF_KIND]]  # fmt: skip
    pictures = {}
    for sample in shown:
        clips = {video: store[video] for video in videos_used(sample)}
        pictures[sample.sample_id] = draw_pair(tasks[sample.task], sample, clips)
    return replace(result, pictures=pictures)


def _statistics(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Statistics for the reports, as JSON: numbers of rows, reasons, samples and visibility by kind, balance."""
    manifest, quarantine, renders, balance = (tables[name] for name in ("manifest", "quarantine", "renders", "balance"))
    return {
        "videos": len(manifest),
        "quarantined": len(quarantine),
        "videos_without_frames": len(set(manifest["video_id"]) - set(tables["store"]["video_id"])),
        "hours_of_video": round(float(manifest["duration_seconds"].clip(lower=0).sum()) / 3600, 3),
        "samples": {name: len(tables[name]) for name in SETS},
        "videos_by_split": _counts(manifest["split"]),
        "quarantine_by_reason": _counts(quarantine["reason"]),
        "samples_by_kind": _samples_by_kind(tables),
        "visible_difference": _visible_difference(renders),
        "largest_class": _largest_class(balance),
    }


def _counts(column: "pd.Series[Any]") -> dict[str, int]:
    return {str(key): int(count) for key, count in column.value_counts().sort_index().items()}


def _samples_by_kind(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    counts = {name: _counts(tables[name]["kind"]) for name in SETS}
    kinds = sorted({kind for by_kind in counts.values() for kind in by_kind})
    return {kind: {name: counts[name].get(kind, 0) for name in SETS} for kind in kinds}


def _visible_difference(renders: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Visible difference (0..255) of the rendered samples of each kind: least, median, number of samples."""
    by_kind = renders.groupby("kind")["difference"]
    return {
        str(kind): {
            "least": round(float(group.min()), 2),
            "median": round(float(group.median()), 2),
            "rendered": len(group),
        }
        for kind, group in by_kind
    }


def _largest_class(balance: pd.DataFrame) -> dict[str, dict[str, float]]:
    columns = {"share": "share", "fair_share": "fair share", "num_answers": "answers", "ratio": "times its fair share"}
    rows = balance.set_index("name")[list(columns)].rename(columns=columns).round(6)
    return {str(name): {str(key): value for key, value in row.items()} for name, row in rows.to_dict("index").items()}
