"""Write the report of an ablation: its numbers, its figure, and a page with both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videossr.ablation.chart import gains_chart
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.viubench import TASKS, paper_table
from videossr.pages import data_uri, render_template
from videossr.report import charts, text
from videossr.storage.atomic import write_bytes, write_json, write_text


def write_ablation(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `<ablation>.json`, `.png` and `.html` into `folder`, and the list of all; returns the page's path."""
    name = result["ablation"]
    write_json(folder / f"{name}.json", result, indent=1)
    write_bytes(folder / f"{name}.png", charts.png(gains_chart(result)))
    page = folder / f"{name}.html"
    write_text(page, render_ablation(result))
    return page


def render_ablation(result: Mapping[str, Any]) -> str:
    """The page as HTML, with the paper's rows marked as published."""
    light, dark = (charts.svg(gains_chart(result), theme) for theme in (charts.LIGHT, charts.DARK))
    return render_template(
        "ablation.html",
        {"percent": text.percent, "signed": text.signed},
        result=result,
        tasks=TASKS,
        has_intervals=result["videos"] >= MIN_VIDEOS,
        min_videos=MIN_VIDEOS,
        source=paper_table()["source"].rsplit(",", 1)[0],
        light=data_uri(light, "image/svg+xml"),
        dark=data_uri(dark, "image/svg+xml"),
    )
