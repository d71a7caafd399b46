"""The page of an audit: the verdict, one chart and three tables in one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from videossr.pages import data_uri, render_template
from videossr.report.charts import DARK, LIGHT, Draw, Theme, svg

_VERDICTS = {
    "passed": "Passed. On our frames the probe is no better than the best blind answer. On frames written by "
    "the published method the same probe finds the answer.",
    "leak": "Leak. On our frames the probe beats the best blind answer, in samples whose edits do not change its "
    "statistics: how the frames were written shows where the edit is.",
    "inconclusive": "Inconclusive. The probe does not beat the best blind answer on our frames, but it does not beat "
    "it on frames with known traces either: there are too few videos or samples.",
}
_COLOURS = {"ours": "after", "reference": "before", "reencoded": "constant"}


def render_page(result: Mapping[str, Any]) -> str:
    """The whole page as HTML; `result` is the content of `audit.json`."""
    gated = [row for row in result["findings"] if row["kind"] in result["gated"]]
    return render_template(
        "audit.html",
        result=result,
        verdict=_VERDICTS[result["verdict"]],
        gated=gated,
        others=[row for row in result["findings"] if row["kind"] not in result["gated"]],
        charts={name: _svg_uri(_chart(gated), theme) for name, theme in (("light", LIGHT), ("dark", DARK))},
    )


def _svg_uri(draw: Draw, theme: Theme) -> str:
    return data_uri(svg(draw, theme), "image/svg+xml")


def _chart(findings: Sequence[Mapping[str, Any]]) -> Draw:
    """A row for each kind: a dot with its interval for each rendering, and a line at the best blind answer."""
    kinds = list(dict.fromkeys(row["kind"] for row in findings))
    renderings = list(dict.fromkeys(row["way"] for row in findings))

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8, 0.9 + 0.62 * len(kinds)), layout="constrained")
        axes = figure.subplots()
        for i, rendering in enumerate(renderings):
            rows = [row for row in findings if row["way"] == rendering]
            heights = [kinds.index(row["kind"]) + 0.22 * (i - (len(renderings) - 1) / 2) for row in rows]
            bounds = [[row["gain"] - row["interval"][0], row["interval"][1] - row["gain"]] for row in rows]
            colour = theme.rows[_COLOURS[rendering]]
            values = [row["probe"] for row in rows]
            axes.errorbar(values, heights, xerr=list(zip(*bounds, strict=True)), fmt="o", color=colour, label=rendering)
        for height, kind in enumerate(kinds):
            blind = next(row["floor"] for row in findings if row["kind"] == kind)
            axes.plot([blind, blind], [height - 0.4, height + 0.4], color=theme.ink, linewidth=1)
        axes.set_yticks(range(len(kinds)), [kind.split("/")[1].replace("_", " ") for kind in kinds])
        axes.set_xlim(0, 1.03)
        axes.set_xlabel("mean IoU of the probe; the line is the best blind answer")
        axes.grid(axis="x")
        axes.invert_yaxis()
        figure.legend(loc="outside upper left", ncols=len(renderings), frameon=False)
        return figure

    return draw
