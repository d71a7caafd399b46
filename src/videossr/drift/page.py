"""The page of a comparison: the verdict, a table of all properties, and their distribution functions."""

from matplotlib.figure import Figure

from videossr.drift.comparison import Drift, DriftParams
from videossr.drift.profile import Profile
from videossr.pages import data_uri, render_template
from videossr.report.charts import DARK, LIGHT, Draw, Theme, svg

_COLUMNS = 3


def render_page(drift: Drift, before: Profile, now: Profile, params: DriftParams, source: str, reference: str) -> str:
    """The page as HTML. `source` names the new batch, `reference` the data that it is held against."""
    draw = _distributions(drift, before, now)
    return render_template(
        "drift.html",
        drift=drift,
        params=params,
        source=source,
        reference=reference,
        rejected={"reference": before.rejected, "new": now.rejected},
        charts={
            name: data_uri(svg(draw, theme), "image/svg+xml") for name, theme in (("light", LIGHT), ("dark", DARK))
        },
    )


def _distributions(drift: Drift, before: Profile, now: Profile) -> Draw:
    names = [finding.name for finding in drift.findings if finding.name in now.columns]

    def draw(theme: Theme) -> Figure:
        rows = -(-len(names) // _COLUMNS)
        figure = Figure(figsize=(10, 2.4 * rows), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            for label, profile, row in (("reference", before, "before"), ("new", now, "after")):
                axes.ecdf(profile.columns[name], label=label, color=theme.rows[row])
            axes.set_title(name, loc="left")
            axes.set_ylim(0, 1)
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)
        return figure

    return draw
