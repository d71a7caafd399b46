"""Curves of a benchmark as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from videossr.report.charts import Theme, png

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#c2347f", "#56b4e9", "#868e99")  # Okabe-Ito


@dataclass(frozen=True)
class Panel:
    """One picture of curves by their names; a later curve lies thinner on the one before it."""

    title: str
    across: str
    curves: Mapping[str, Sequence[float]]


def write_curves(path: Path, panels: Sequence[Panel]) -> None:
    """Write the panels side by side as PNG."""

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(4.6 * len(panels), 3.2), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for place, (name, values) in enumerate(panel.curves.items()):
                width = 3.0 - 2.0 * place / max(1, len(panel.curves) - 1)
                axes.plot(range(1, len(values) + 1), values, color=COLOURS[place], linewidth=width, label=name)
            axes.set_title(panel.title, fontsize=10, color=theme.ink)
            axes.set_xlabel(panel.across)
            axes.legend(frameon=False, fontsize=8)
        return figure

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(draw, 110))
