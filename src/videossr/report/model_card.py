"""The model card of a trained policy as Markdown: data and licence, recipe, scores with intervals, limits, loading."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from videossr.pages import render_template
from videossr.report.text import LABELS, ROW_LABELS, against_blind, caution, too_few, verdict

_DATA = ("data/manifest.parquet", "data/samples/train.parquet", "data/samples/viubench.parquet", "models/policy")


def model_card(
    *,
    commit: str,
    params: Mapping[str, Any],
    hashes: Mapping[str, str],
    num_videos: Counter[str],
    results: Mapping[str, Any],
    downstream: Mapping[str, Any],
) -> str:
    """The card. `params` is the content of params.yaml, `hashes` are the MD5 of outputs by path, `num_videos` counts
    the videos of each split, `results` is viubench.json, and `downstream` is downstream.json.
    """
    return render_template(
        "model_card.md",
        commit=commit,
        params=params,
        ingest={"licence": "", **params["ingest"]},
        steps=params["train"].get("grpo", {}).get("steps", "the default number of"),
        data={path: hashes[path] for path in _DATA if path in hashes},
        num_videos=num_videos,
        results=results,
        columns=results["columns"],
        has_intervals=not too_few(results),
        labels=LABELS,
        row_labels=ROW_LABELS,
        verdict=verdict(results),
        against_blind=against_blind(results),
        caution=caution(results),
        downstream={"made": False, **downstream},
        gains=list(downstream.get("gains", {}).values()),
    )
