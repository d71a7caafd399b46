"""The figure of difficulty curves: the score on VIUBench by what makes a question hard."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from videossr.evaluation.difficulty import FACTORS, Curves, Point
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.report import text
from videossr.report.charts import LIGHT, Draw, Theme, svg
from videossr.storage.atomic import write_bytes, write_text

_OTHER_COLOURS = ("#009e73", "#d55e00", "#cc79a7", "#56b4e9")  # Okabe-Ito, for policies that are no row of the report


def write_difficulty(curves: Curves, folder: Path) -> Path:
    """Write `difficulty.json` and `difficulty.svg` to `folder`; returns the path of the figure."""
    rows = {
        factor: {
            "title": FACTORS[factor].title,
            "axis": FACTORS[factor].axis,
            "policies": {name: [dataclasses.asdict(point) for point in points] for name, points in lines.items()},
        }
        for factor, lines in curves.items()
    }
    write_text(folder / "difficulty.json", json.dumps(rows, indent=1) + "\n")
    path = folder / "difficulty.svg"
    write_bytes(path, svg(difficulty_figure(curves), LIGHT))
    return path


def difficulty_figure(curves: Curves) -> Draw:
    """A panel for each factor with a line for each policy, and its 95 % interval where videos are enough for one."""
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(3.3 * len(curves), 3.3), layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(curves), squeeze=False, sharey=True).ravel()
        for axes, (factor, lines) in zip(panels, curves.items(), strict=True):
            for place, name in enumerate(names):
                _draw_line(axes, lines[name], text.ROW_LABELS.get(name, name), _colour(theme, name, place))
            axes.set_title(FACTORS[factor].title, loc="left")
            axes.set_xlabel(FACTORS[factor].axis)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        panels[0].set_ylabel("score, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(names), frameon=False)
        return figure

    return draw


def _draw_line(axes: Axes, points: Sequence[Point], label: str, colour: str) -> None:
    values, means = np.array([(point.value, point.mean) for point in points]).T
    axes.plot(values, means, "o-", color=colour, label=label, markersize=3.5, linewidth=1.6)
    if all(point.videos >= MIN_VIDEOS for point in points):
        low, high = np.array([(point.low, point.high) for point in points]).T
        axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)


def _colour(theme: Theme, name: str, place: int) -> str:
    return theme.rows.get(name, _OTHER_COLOURS[place % len(_OTHER_COLOURS)])
