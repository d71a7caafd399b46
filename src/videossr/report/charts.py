"""The report's charts, by matplotlib: each for light and for dark pages, the same bytes for the same numbers."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from videossr.evaluation.viubench import COLUMNS
from videossr.report import text
from videossr.report.contact_sheets import ContactSheet, strip

TASK_NAMES = ("grounding", "counting", "jigsaw")


@dataclass(frozen=True)
class Panel:
    """Curves of train.json that are drawn together: their names, or `instead` where a run has none of them.

    `trouble` says what they look like when training goes wrong.
    """

    title: str
    phase: Literal["warmup", "grpo"]
    names: tuple[str, ...]
    instead: str = ""
    scale: Literal["", "share", "from 0", "whole"] = ""
    trouble: str = ""


def _by_task(name: str) -> tuple[str, ...]:
    return tuple(f"{name}/{task}" for task in TASK_NAMES)


EARNED = (
    Panel("Warm start: loss", "warmup", ("loss",)),
    Panel("GRPO: mean reward", "grpo", ("reward",)),
    Panel("GRPO: reward by task", "grpo", _by_task("reward")),
    Panel("GRPO: skill above the blind floor", "grpo", _by_task("skill")),
    Panel("GRPO: groups without a signal", "grpo", _by_task("zero_variance"), "zero_variance", "share"),
    Panel("GRPO: replies in the form asked for", "grpo", _by_task("parsed"), scale="share"),
    Panel("GRPO: level of the curriculum", "grpo", _by_task("level"), scale="whole"),
)
REPLIES = (
    Panel(
        "Length of replies, tokens",
        "grpo",
        _by_task("length"),
        "completions/mean_length",
        "from 0",
        "A length that collapses or runs up to the limit: the policy says too little to be right, or does not end.",
    ),
    Panel(
        "KL from the start, nats a token",
        "grpo",
        _by_task("kl"),
        "kl",
        "from 0",
        "A KL that runs away: it tells how far the policy has moved from where GRPO began.",
    ),
    Panel(
        "Entropy, nats a token",
        "grpo",
        _by_task("entropy"),
        "entropy",
        "from 0",
        "An entropy that falls to nothing: the policy says the same again and again, GRPO cannot choose.",
    ),
)


@dataclass(frozen=True)
class Theme:
    """Colours of one page mode, from the Okabe-Ito set: told apart also without colour vision."""

    ink: str
    faint: str
    touched: str
    answerers: Mapping[str, str]
    tasks: Mapping[str, str]


LIGHT = Theme(
    ink="#1d2126",
    faint="#c9ced6",
    touched="#c2347f",
    answerers={"random": "#c3c8cf", "constant": "#868e99", "before": "#e69f00", "after": "#0072b2"},
    tasks={"grounding": "#0072b2", "counting": "#d55e00", "jigsaw": "#009e73"},
)
DARK = Theme(
    ink="#e4e8ee",
    faint="#454d59",
    touched="#f286bb",
    answerers={"random": "#4d5562", "constant": "#8b94a3", "before": "#e6a92e", "after": "#56b4e9"},
    tasks={"grounding": "#56b4e9", "counting": "#f0894a", "jigsaw": "#35c79c"},
)

Draw = Callable[[Theme], Figure]


def svg(draw: Draw, theme: Theme) -> bytes:
    """The chart as SVG on a transparent ground, text as outlines."""
    return _printed(draw, theme, FigureCanvasSVG, {"format": "svg", "metadata": {"Date": None}, "transparent": True})


def png(draw: Draw, dots_per_inch: int = 160) -> bytes:
    """The chart as PNG on white."""
    options = {"format": "png", "dpi": dots_per_inch, "metadata": {"Software": None}}
    return _printed(draw, LIGHT, FigureCanvasAgg, options)


def viubench_bars(results: Mapping[str, Any]) -> Draw:
    """Bars with 95 % intervals: one group a column and `overall`, one bar an answerer. `results` is viubench.json."""
    rows = {name: row for name, row in results["rows"].items() if name in text.ANSWERERS}
    groups = ["overall", *COLUMNS]
    # A gap after `overall`: it is the mean of what follows it.
    centres = np.arange(len(groups)) + np.where(np.arange(len(groups)) > 0, 0.35, 0)

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(rows)
        for place, (name, row) in enumerate(rows.items()):
            values = np.array([row[group] for group in groups])
            whiskers = _whiskers(values, [row["ci95"][group] for group in groups])
            axes.bar(
                centres + (place - (len(rows) - 1) / 2) * width,
                values,
                width * 0.92,
                yerr=None if text.too_few(results) else whiskers,
                color=theme.answerers[name],
                error_kw={"ecolor": theme.ink, "elinewidth": 0.9, "alpha": 0.75},
                label=text.ANSWERERS[name],
            )
        axes.set_xticks(centres, [text.LABELS[group].replace(" ", "\n", 1) for group in groups])
        axes.set_ylabel("score, %")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0)
        figure.legend(loc="outside upper left", ncols=len(rows), frameon=False)
        return figure

    return draw


def small_multiples(panels: Sequence[Panel], curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Draw | None:
    """One panel a quantity that was logged; None when nothing was. `curves` is train.json."""
    logged = _logged(panels, curves)
    if not logged:
        return None

    def draw(theme: Theme) -> Figure:
        rows = -(-len(logged) // 3)
        figure = Figure(figsize=(11.1, 2.7 * rows), layout="constrained")
        grid = figure.subplots(rows, 3, squeeze=False).ravel()
        for axes, (panel, lines) in zip(grid, logged, strict=False):
            _draw_panel(axes, panel, lines, theme)
        for axes in grid[len(logged) :]:
            axes.set_axis_off()
        return figure

    return draw


def troubles(panels: Sequence[Panel], curves: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """What to look for in those of the panels that are drawn."""
    return [panel.trouble for panel, _ in _logged(panels, curves) if panel.trouble]


def in_words(panels: Sequence[Panel], curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The same curves for who cannot see them: where each began and where it ended."""
    return "; ".join(text.course(panel.title, lines) for panel, lines in _logged(panels, curves))


def sample_sheets(sheets: Sequence[ContactSheet]) -> Draw:
    """One strip a sheet below another, its variant and its right answer above it; touched frames are framed."""
    strips = [strip(sheet, _rgb(LIGHT.touched)) for sheet in sheets]

    def draw(theme: Theme) -> Figure:
        width = 11.0
        heights = [width * image.shape[0] / image.shape[1] + 0.32 for image in strips]
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        grid = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights).ravel()
        for axes, image, sheet in zip(grid, strips, sheets, strict=True):
            axes.imshow(image)
            axes.set_axis_off()
            axes.set_title(f"{sheet.sample.task} {sheet.sample.variant}: {sheet.sample.answer}", loc="left")
        return figure

    return draw


def _logged(
    panels: Sequence[Panel], curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> list[tuple[Panel, dict[str, list[tuple[float, float]]]]]:
    """The panels that have something to show, each with its lines by name."""
    found = []
    for panel in panels:
        rows = curves.get(panel.phase, [])
        lines = {name: line for name in panel.names if (line := text.series(rows, name))}
        if not lines and (line := text.series(rows, panel.instead)):
            lines = {panel.instead: line}
        if lines:
            found.append((panel, lines))
    return found


def _draw_panel(axes: Axes, panel: Panel, lines: Mapping[str, Sequence[tuple[float, float]]], theme: Theme) -> None:
    for name, line in lines.items():
        points = np.array(line, dtype=float)
        task = name.rpartition("/")[2]
        colour = theme.tasks.get(task, theme.answerers["after"])
        steady = points[:, 1] if panel.scale == "whole" else _smoothed(points[:, 1])
        # A task has few groups a step: their shares jump from 0 to 1 and would hide each other.
        if panel.scale != "share" or len(lines) == 1:
            axes.plot(points[:, 0], points[:, 1], color=colour, alpha=0.28, linewidth=0.9)
        axes.plot(points[:, 0], steady, color=colour, linewidth=1.9, label=task.capitalize())
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel("step")
    if panel.scale == "share":
        axes.set_ylim(-0.02, 1.02)
    elif panel.scale == "from 0":  # a collapse looks like one
        axes.set_ylim(bottom=0)
    elif panel.scale == "whole":
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.instead not in lines and len(panel.names) > 1:
        axes.legend(frameon=False, fontsize=8)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A centred moving mean over about a fifteenth of the curve; at the ends over what there is."""
    half = len(values) // 30
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, end = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def _whiskers(values: NDArray[np.float64], intervals: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    low, high = np.array(intervals, dtype=float).T
    return np.clip(np.stack([values - low, high - values]), 0, None)


def _printed(draw: Draw, theme: Theme, canvas: Any, options: Mapping[str, Any]) -> bytes:
    with _style(theme):
        figure = draw(theme)
        canvas(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


@contextmanager
def _style(theme: Theme) -> Iterator[None]:
    style: dict[Any, Any] = {
        "svg.hashsalt": "videossr",  # else the ids in the file differ from run to run
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "grid.alpha": 0.7,
        "ytick.major.size": 0,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), theme.ink),
        "axes.edgecolor": theme.faint,
    }
    with mpl.rc_context(style):
        yield
