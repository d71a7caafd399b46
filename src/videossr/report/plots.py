"""Curves of training and scores as CSV files, which `dvc plots diff` draws for two runs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videossr.evaluation.viubench import MEANS
from videossr.storage.atomic import atomic_folder, write_text


def write_plots(
    out: Path, curves: Mapping[str, Any], results: Mapping[str, Any], downstream: Mapping[str, Any]
) -> None:
    """Write curves by step to `out`/warmup.csv and grpo.csv, and scores after training: scores.csv and benchmarks.csv.

    `curves` is train.json, `results` viubench.json, `downstream` downstream.json. A value that a step lacks is empty.
    `out` is replaced.
    """
    after = results["rows"]["after"]
    scores = [{"column": name, "score": after[name]} for name in MEANS]
    records = downstream["rows"].get("after", {})
    benchmarks = [
        {"benchmark": f"{record['title']}, {record['metric']}", "score": record["columns"][record["metric"]]["mean"]}
        for record in records.values()
    ]
    with atomic_folder(out) as folder:
        for phase in ("warmup", "grpo"):
            rows = curves.get(phase, [])
            names = sorted({name for row in rows for name in row} - {"step"})
            write_text(folder / f"{phase}.csv", _csv(["step", *names], rows))
        write_text(folder / "scores.csv", _csv(["column", "score"], scores))
        write_text(folder / "benchmarks.csv", _csv(["benchmark", "score"], benchmarks))


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
