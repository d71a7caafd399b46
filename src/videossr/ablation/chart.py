"""The figure of an ablation: the gain of each variant over the start, with its interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.report.charts import Draw, Theme


def gains_chart(result: Mapping[str, Any]) -> Draw:
    """One line for each variant, the first at the top; `result` is that of `compare_variants`."""
    variants = result["variants"]
    gains = np.array([variant["gain"]["overall"] for variant in variants])
    low, high = np.array([variant["gain"]["ci95"] for variant in variants]).T
    lines = -np.arange(len(variants))

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(9, 1.2 + 0.34 * len(variants)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=theme.ink, linewidth=0.9)
        has_intervals = result["videos"] >= MIN_VIDEOS
        axes.errorbar(
            gains,
            lines,
            xerr=np.stack([gains - low, high - gains]) if has_intervals else None,
            fmt="o",
            color=theme.rows["after"],
            elinewidth=1.4,
            markersize=5,
        )
        axes.set_yticks(lines, [variant["label"] for variant in variants])
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"gain over the start on VIUBench, points{', with 95 % interval' if has_intervals else ''}")
        return figure

    return draw
