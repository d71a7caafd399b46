"""The report: one page that tells someone who was not there what was done, on what, and whether it helped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videossr.errors import ConfigError
from videossr.pretext import PretextTask
from videossr.report import charts, page
from videossr.report.contact_sheets import ContactSheet, MissingSheet, draw_sheet, draw_sheets
from videossr.report.inputs import ReportInputs, load_inputs
from videossr.storage.atomic import write_bytes, write_text

__all__ = [
    "ContactSheet",
    "MissingSheet",
    "ReportInputs",
    "ReportParams",
    "draw_sheet",
    "draw_sheets",
    "load_inputs",
    "write_report",
]


@dataclass(frozen=True)
class ReportParams:
    """Params section `report`: the page's title; how sample sheets are drawn and by which lot they are chosen."""

    title: str = "VideoSSR"
    frames_per_strip: int = 16
    thumbnail_pixels: int = 112
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.frames_per_strip <= 64:
            raise ConfigError(f"frames_per_strip must be 2..64, got {self.frames_per_strip}")
        if not 16 <= self.thumbnail_pixels <= 1024:
            raise ConfigError(f"thumbnail_pixels must be 16..1024, got {self.thumbnail_pixels}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")


def write_report(
    evidence: ReportInputs, tasks: Mapping[str, PretextTask], params: ReportParams, reports_dir: Path
) -> Path:
    """Write `figures/*.png` and the self-contained `index.html` into `reports_dir`; returns the page's path.

    The same evidence gives the same bytes.
    """
    sheets = draw_sheets(
        tasks,
        evidence.bench,
        evidence.bench_footage,
        evidence.store,
        evidence.scored,
        seed=params.seed,
        frames_per_strip=params.frames_per_strip,
        thumbnail_pixels=params.thumbnail_pixels,
    )
    for name, content in _figures(evidence, sheets).items():
        write_bytes(reports_dir / "figures" / name, content)
    path = reports_dir / "index.html"
    write_text(path, page.render_page(params.title, evidence, sheets))
    return path


def _figures(evidence: ReportInputs, sheets: Sequence[ContactSheet | MissingSheet]) -> dict[str, bytes]:
    figures = {"viubench.png": charts.png(charts.viubench_bars(evidence.results))}
    for name, panels in (("training.png", charts.EARNED), ("replies.png", charts.REPLIES)):
        curves = charts.small_multiples(panels, evidence.curves)
        if curves is not None:
            figures[name] = charts.png(curves)
    drawn = [sheet for sheet in sheets if isinstance(sheet, ContactSheet)]
    for task in dict.fromkeys(sheet.sample.task for sheet in drawn):
        of_task = [sheet for sheet in drawn if sheet.sample.task == task]
        # Photographs, not lines: finer print than this only makes the file larger.
        figures[f"samples_{task}.png"] = charts.png(charts.sample_sheets(of_task), dots_per_inch=100)
    return figures
