"""The audit's page: the verdict in a sentence, one chart, three tables; whole without a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from videossr.pages import data_uri, render_template
from videossr.report.charts import DARK, LIGHT, Draw, Theme, svg

_VERDICTS = {
    "passed": "Passed. On our frames the probe does no better than the best blind answer; on frames written the "
    "published way the same probe finds the answer.",
    "leak": "Leak. The probe beats the best blind answer on our frames, in puzzles whose edits leave its statistics "
    "alone: something about how the frames came to be tells the answer.",
    "inconclusive": "Inconclusive. The probe does not beat the best blind answer on our frames, but not on frames with "
    "known traces either: there are too few videos or puzzles to tell.",
}
_COLOURS = {"ours": "after", "reference": "before", "reencoded": "constant"}


def render_page(result: Mapping[str, Any]) -> str:
    """The whole page as HTML; `result` is what `audit.json` holds."""
    gated = [row for row in result["findings"] if row["kind"] in result["gated"]]
    return render_template(
        "audit.html",
        result=result,
        verdict=_VERDICTS[result["verdict"]],
        gated=gated,
        others=[row for row in result["findings"] if row["kind"] not in result["gated"]],
        charts={name: _embedded(_chart(gated), theme) for name, theme in (("light", LIGHT), ("dark", DARK))},
    )


def _embedded(draw: Draw, theme: Theme) -> str:
    return data_uri(svg(draw, theme), "image/svg+xml")


def _chart(findings: Sequence[Mapping[str, Any]]) -> Draw:
    """A row a kind, a dot with its interval a way, and the blind floor as a line."""
    kinds = list(dict.fromkeys(row["kind"] for row in findings))
    ways = list(dict.fromkeys(row["way"] for row in findings))

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(8, 0.9 + 0.62 * len(kinds)), layout="constrained")
        axes = figure.subplots()
        for place, way in enumerate(ways):
            rows = [row for row in findings if row["way"] == way]
            heights = [kinds.index(row["kind"]) + 0.22 * (place - (len(ways) - 1) / 2) for row in rows]
            bounds = [[row["gain"] - row["interval"][0], row["interval"][1] - row["gain"]] for row in rows]
            colour = theme.answerers[_COLOURS[way]]
            values = [row["probe"] for row in rows]
            axes.errorbar(values, heights, xerr=list(zip(*bounds, strict=True)), fmt="o", color=colour, label=way)
        for height, kind in enumerate(kinds):
            floor = next(row["floor"] for row in findings if row["kind"] == kind)
            axes.plot([floor, floor], [height - 0.4, height + 0.4], color=theme.ink, linewidth=1)
        axes.set_yticks(range(len(kinds)), [kind.split("/")[1].replace("_", " ") for kind in kinds])
        axes.set_xlim(0, 1.03)
        axes.set_xlabel("mean IoU of the probe; the line is the best blind answer")
        axes.grid(axis="x")
        axes.invert_yaxis()
        figure.legend(loc="outside upper left", ncols=len(ways), frameon=False)
        return figure

    return draw
