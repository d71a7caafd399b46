"""Plot the curves of a benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from videossr.report.charts import Theme, png
from videossr.storage.atomic import write_bytes

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#c2347f", "#56b4e9", "#868e99")  # Okabe-Ito


@dataclass(frozen=True)
class Plot:
    """One plot of named curves, one value per step. A later curve is drawn thinner, above the earlier ones."""

    title: str
    x_label: str
    curves: Mapping[str, Sequence[float]]


def write_plots(path: Path, plots: Sequence[Plot]) -> None:
    """Write the plots side by side to a PNG file."""

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(4.6 * len(plots), 3.2), layout="constrained")
        for axes, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
            for number, (name, values) in enumerate(plot.curves.items()):
                width = 3.0 - 2.0 * number / max(1, len(plot.curves) - 1)
                axes.plot(range(1, len(values) + 1), values, color=COLOURS[number], linewidth=width, label=name)
            axes.set_title(plot.title, fontsize=10, color=theme.ink)
            axes.set_xlabel(plot.x_label)
            axes.legend(frameon=False, fontsize=8)
        return figure

    write_bytes(path, png(draw, 110))
