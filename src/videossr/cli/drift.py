"""`videossr drift`: hold a new folder of videos against those that the champion was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from videossr.paths import REPORTS
from videossr.terminal import printable


def show_drift(
    source: Annotated[str, typer.Argument(help="the new videos: a folder, a URL, a list of paths")],
    alpha: Annotated[float, typer.Option(help="bound of the corrected p-value")] = 0.01,
    min_effect: Annotated[float, typer.Option(help="smallest effect that counts, 0 to 1")] = 0.3,
    reports: Annotated[Path, typer.Option(help="the folder for drift.html and drift.json")] = REPORTS,
) -> None:
    """Compare new videos with those that the champion was trained on: length, size, codec, brightness, edits, ..."""
    from videossr.drift import DriftParams, compare_batch

    drift = compare_batch(source, DriftParams(alpha, min_effect), reports)
    print(printable(drift.sentence))
    print(printable(f"details: {reports / 'drift.html'}"))
