"""Curves of training and scores as CSV files, which `dvc plots diff` draws for two runs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videossr.evaluation.viubench import COLUMNS
from videossr.storage.atomic import atomic_folder, write_text


def write_plots(out: Path, curves: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write curves by step to `out`/warmup.csv and grpo.csv, and the scores after training to `out`/scores.csv.

    `curves` is train.json, `results` viubench.json. A value that a step lacks is empty. `out` is replaced.
    """
    after = results["rows"]["after"]
    scores = [{"column": name, "score": after[name]} for name in (*COLUMNS, "overall")]
    with atomic_folder(out) as folder:
        for phase in ("warmup", "grpo"):
            rows = curves.get(phase, [])
            names = sorted({name for row in rows for name in row} - {"step"})
            write_text(folder / f"{phase}.csv", _csv(["step", *names], rows))
        write_text(folder / "scores.csv", _csv(["column", "score"], scores))


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
