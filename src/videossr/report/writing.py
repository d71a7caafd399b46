"""Write the report: the page, its figures, and the curves as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from videossr.pretext import PretextTask
from videossr.report import charts, page
from videossr.report.contact_sheets import ContactSheet, MissingSheet, draw_sheets
from videossr.report.inputs import ReportInputs
from videossr.report.params import ReportParams
from videossr.report.plots import write_plots
from videossr.storage.atomic import write_bytes, write_text


def write_report(
    inputs: ReportInputs, tasks: Mapping[str, PretextTask], params: ReportParams, reports_dir: Path
) -> Path:
    """Write `figures/*.png`, `plots/*.csv` and the self-contained `index.html` into `reports_dir`; returns its path.

    Equal inputs give equal bytes.
    """
    sheets = draw_sheets(
        tasks,
        inputs.bench,
        inputs.bench_videos,
        inputs.store,
        inputs.scored,
        seed=params.seed,
        frames_per_strip=params.frames_per_strip,
        thumbnail_pixels=params.thumbnail_pixels,
    )
    for name, content in _figures(inputs, sheets).items():
        write_bytes(reports_dir / "figures" / name, content)
    write_plots(reports_dir / "plots", inputs.curves, inputs.results, inputs.downstream)
    path = reports_dir / "index.html"
    write_text(path, page.render_page(params.title, inputs, sheets))
    return path


def _figures(inputs: ReportInputs, sheets: Sequence[ContactSheet | MissingSheet]) -> dict[str, bytes]:
    figures = {"viubench.png": charts.png(charts.viubench_bars(inputs.results))}
    for name, panels in (("training.png", charts.REWARD_PANELS), ("replies.png", charts.REPLY_PANELS)):
        curves = charts.small_multiples(panels, inputs.curves)
        if curves is not None:
            figures[name] = charts.png(curves)
    drawn = [sheet for sheet in sheets if isinstance(sheet, ContactSheet)]
    for task in dict.fromkeys(sheet.sample.task for sheet in drawn):
        of_task = [sheet for sheet in drawn if sheet.sample.task == task]
        # A finer resolution would not show more and would make the file larger.
        figures[f"samples_{task}.png"] = charts.png(charts.sample_sheets(of_task), dots_per_inch=100)
    return figures
