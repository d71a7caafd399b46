"""The charts of the report, by matplotlib, for light and for dark pages. Equal numbers give equal bytes."""

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
from videossr.report.contact_sheets import ContactSheet, draw_strip

TASK_NAMES = ("grounding", "counting", "jigsaw")


@dataclass(frozen=True)
class CurvePanel:
    """Curves of train.json that share axes.

    `names` are the curves; `fallback` is drawn where a run has none of them. `scale` chooses the vertical axis.
    `warning_sign` says how the curves look when training goes wrong.
    """

    title: str
    phase: Literal["warmup", "grpo"]
    names: tuple[str, ...]
    fallback: str = ""
    scale: Literal["", "share", "from 0", "whole"] = ""
    warning_sign: str = ""


def _by_task(name: str) -> tuple[str, ...]:
    return tuple(f"{name}/{task}" for task in TASK_NAMES)


REWARD_PANELS = (
    CurvePanel("Warm start: loss", "warmup", ("loss",)),
    CurvePanel("GRPO: mean reward", "grpo", ("reward",)),
    CurvePanel("GRPO: reward by task", "grpo", _by_task("reward")),
    CurvePanel("GRPO: skill above the blind floor", "grpo", _by_task("skill")),
    CurvePanel("GRPO: groups without variance", "grpo", _by_task("zero_variance"), "zero_variance", "share"),
    CurvePanel("GRPO: replies that can be parsed", "grpo", _by_task("parsed"), scale="share"),
    CurvePanel("GRPO: level of the curriculum", "grpo", _by_task("level"), scale="whole"),
)
REPLY_PANELS = (
    CurvePanel(
        "Length of replies, tokens",
        "grpo",
        _by_task("length"),
        "completions/mean_length",
        "from 0",
        "A length that falls to almost zero or rises to the limit: the replies are too short to be right, or endless.",
    ),
    CurvePanel(
        "KL from the start of GRPO, nats per token",
        "grpo",
        _by_task("kl"),
        "kl",
        "from 0",
        "A KL that keeps growing: it measures how far the policy is from the one at the start of GRPO.",
    ),
    CurvePanel(
        "Entropy, nats per token",
        "grpo",
        _by_task("entropy"),
        "entropy",
        "from 0",
        "An entropy that falls to zero: all completions of a group are the same, and GRPO has nothing to compare.",
    ),
)


@dataclass(frozen=True)
class Theme:
    """Colours of a light or a dark page, from the Okabe-Ito set, which people without colour vision can distinguish.

    `rows` colours the rows of VIUBench, `tasks` the tasks, `edited` the frames of an edit.
    """

    ink: str
    faint: str
    edited: str
    rows: Mapping[str, str]
    tasks: Mapping[str, str]


LIGHT = Theme(
    ink="#1d2126",
    faint="#c9ced6",
    edited="#c2347f",
    rows={"random": "#828a94", "constant": "#5c646f", "blind": "#b07aa1", "before": "#b57c00", "after": "#0072b2"},
    tasks={"grounding": "#0072b2", "counting": "#d55e00", "jigsaw": "#009e73"},
)
DARK = Theme(
    ink="#e4e8ee",
    faint="#454d59",
    edited="#f286bb",
    rows={"random": "#737c8a", "constant": "#aeb6c2", "blind": "#d3a4cd", "before": "#e6a92e", "after": "#56b4e9"},
    tasks={"grounding": "#56b4e9", "counting": "#f0894a", "jigsaw": "#35c79c"},
)

Draw = Callable[[Theme], Figure]
Curves = Mapping[str, Sequence[Mapping[str, float]]]  # train.json: phase -> one row of values for each logged step


def svg(draw: Draw, theme: Theme) -> bytes:
    """The chart as SVG on a transparent background, with text as outlines."""
    return _render(draw, theme, FigureCanvasSVG, {"format": "svg", "metadata": {"Date": None}, "transparent": True})


def png(draw: Draw, dots_per_inch: int = 160) -> bytes:
    """The chart as PNG on white."""
    options = {"format": "png", "dpi": dots_per_inch, "metadata": {"Software": None}}
    return _render(draw, LIGHT, FigureCanvasAgg, options)


def viubench_bars(results: Mapping[str, Any]) -> Draw:
    """Bars with 95 % intervals. `results` is viubench.json.

    There is one group for `overall` and for each column, with one bar for each row of the results.
    """
    rows = {name: row for name, row in results["rows"].items() if name in text.ROW_LABELS}
    groups = ["overall", *COLUMNS]
    # A gap after `overall`, which is the mean of the other groups.
    centres = np.arange(len(groups)) + np.where(np.arange(len(groups)) > 0, 0.35, 0)

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(rows)
        for i, (name, row) in enumerate(rows.items()):
            values = np.array([row[group] for group in groups])
            whiskers = _whiskers(values, [row["ci95"][group] for group in groups])
            axes.bar(
                centres + (i - (len(rows) - 1) / 2) * width,
                values,
                width * 0.92,
                yerr=None if text.too_few(results) else whiskers,
                color=theme.rows[name],
                error_kw={"ecolor": theme.ink, "elinewidth": 0.9, "alpha": 0.75},
                label=text.ROW_LABELS[name],
            )
        axes.set_xticks(centres, [text.LABELS[group].replace(" ", "\n", 1) for group in groups])
        axes.set_ylabel("score, %")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0)
        figure.legend(loc="outside upper left", ncols=len(rows), frameon=False)
        return figure

    return draw


def small_multiples(panels: Sequence[CurvePanel], curves: Curves) -> Draw | None:
    """One panel for each entry of `panels` that was logged; None where none was. `curves` is train.json."""
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


def warning_signs(panels: Sequence[CurvePanel], curves: Curves) -> list[str]:
    """The warning signs of the panels that are drawn."""
    return [panel.warning_sign for panel, _ in _logged(panels, curves) if panel.warning_sign]


def describe_curves(panels: Sequence[CurvePanel], curves: Curves) -> str:
    """The curves as text, for readers who cannot see them: start and end of each."""
    return "; ".join(text.describe_change(panel.title, lines) for panel, lines in _logged(panels, curves))


def sample_sheets(sheets: Sequence[ContactSheet]) -> Draw:
    """The strips of the sheets, one below another, each with its variant and its right answer above it."""
    strips = [draw_strip(sheet, _rgb(LIGHT.edited)) for sheet in sheets]

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
    panels: Sequence[CurvePanel], curves: Curves
) -> list[tuple[CurvePanel, dict[str, list[tuple[float, float]]]]]:
    """The panels that have values, each with its curves by name."""
    logged = []
    for panel in panels:
        rows = curves.get(panel.phase, [])
        lines = {name: line for name in panel.names if (line := text.series(rows, name))}
        if not lines and (line := text.series(rows, panel.fallback)):
            lines = {panel.fallback: line}
        if lines:
            logged.append((panel, lines))
    return logged


def _draw_panel(
    axes: Axes, panel: CurvePanel, lines: Mapping[str, Sequence[tuple[float, float]]], theme: Theme
) -> None:
    for name, line in lines.items():
        points = np.array(line, dtype=float)
        task = name.rpartition("/")[2]
        colour = theme.tasks.get(task, theme.rows["after"])
        smooth = points[:, 1] if panel.scale == "whole" else _moving_mean(points[:, 1])
        # A task has few groups in a step: raw shares jump between 0 and 1, and the lines would hide each other.
        if panel.scale != "share" or len(lines) == 1:
            axes.plot(points[:, 0], points[:, 1], color=colour, alpha=0.28, linewidth=0.9)
        axes.plot(points[:, 0], smooth, color=colour, linewidth=1.9, label=task.capitalize())
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel("step")
    if panel.scale == "share":
        axes.set_ylim(-0.02, 1.02)
    elif panel.scale == "from 0":  # so that a fall to zero is visible
        axes.set_ylim(bottom=0)
    elif panel.scale == "whole":
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.fallback not in lines and len(panel.names) > 1:
        axes.legend(frameon=False, fontsize=8)


def _moving_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A centred moving mean over about a fifteenth of the curve; the window is shorter at the ends."""
    half = len(values) // 30
    sums = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(len(values))
    first, end = np.maximum(positions - half, 0), np.minimum(positions + half + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def _whiskers(values: NDArray[np.float64], intervals: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    low, high = np.array(intervals, dtype=float).T
    return np.clip(np.stack([values - low, high - values]), 0, None)


def _render(draw: Draw, theme: Theme, canvas: Any, options: Mapping[str, Any]) -> bytes:
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
        "svg.hashsalt": "videossr",  # without it, the ids in the file differ from run to run
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
