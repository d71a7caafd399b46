"""The page itself: evidence, charts and sheets laid into one self-contained HTML file."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videossr.evaluation.viubench import COLUMNS, paper_table
from videossr.pages import data_uri, render_template
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import RejectedFile, Sample, Video
from videossr.report import charts, text
from videossr.report.charts import Draw, Panel
from videossr.report.contact_sheets import ContactSheet, MissingSheet
from videossr.report.inputs import ReportInputs

MAX_FILES_LISTED = 200


@dataclass(frozen=True)
class Chart:
    """One chart as data URIs, for light and for dark pages."""

    light: str
    dark: str
    alt: str


def render_page(title: str, evidence: ReportInputs, sheets: Sequence[ContactSheet | MissingSheet]) -> str:
    """The whole page as HTML; every text that comes from files, videos or models is escaped."""
    filters: dict[str, Callable[..., Any]] = {
        "percent": text.percent,
        "signed": text.signed,
        "label": text.LABELS.__getitem__,
    }
    return render_template(
        "report.html",
        filters,
        title=title,
        results=evidence.results,
        rows=evidence.results["rows"],
        gain=evidence.results["gain"],
        answerers=text.ANSWERERS,
        columns=["overall", *COLUMNS],
        verdict=text.verdict(evidence.results),
        remarks=_remarks(evidence.results),
        caution=text.caution(evidence.results),
        too_few=text.too_few(evidence.results),
        videos=footage_facts(evidence.videos),
        rejected=_by_reason(evidence.rejected),
        max_files=MAX_FILES_LISTED,
        puzzles=puzzle_counts(evidence.train, evidence.bench),
        gate=evidence.gate,
        training=text.trained(evidence.curves),
        curves_chart=_curves_chart("What training earned", charts.EARNED, evidence.curves),
        replies_chart=_curves_chart("How the replies changed", charts.REPLIES, evidence.curves),
        troubles=charts.troubles(charts.REPLIES, evidence.curves),
        bars_chart=_chart(charts.viubench_bars(evidence.results), "VIUBench scores with 95 % intervals"),
        paper=paper_table(),
        sheets=_by_task(sheets),
        perturbations=PERTURBATIONS,
    )


def footage_facts(videos: Sequence[Video]) -> dict[str, Any]:
    """Counts, lengths and sizes of the usable videos: what the page says of them."""
    seconds = sorted(video.duration_seconds for video in videos)
    pixels = sorted((video.width * video.height, f"{video.width} × {video.height}") for video in videos)
    return {
        "count": len(videos),
        "train": sum(video.split == "train" for video in videos),
        "bench": sum(video.split == "bench" for video in videos),
        "minutes": sum(seconds) / 60,
        "shortest": seconds[0] if seconds else 0.0,
        "longest": seconds[-1] if seconds else 0.0,
        "sizes": list(dict.fromkeys([pixels[0][1], pixels[-1][1]])) if pixels else [],
        "codecs": Counter(video.codec for video in videos).most_common(),
    }


def puzzle_counts(train: Sequence[Sample], bench: Sequence[Sample]) -> list[tuple[str, str, int, int]]:
    """(task, variant, training samples, benchmark questions), for every task and variant that has one."""
    trained = Counter((sample.task, sample.variant) for sample in train)
    asked = Counter((sample.task, sample.variant) for sample in bench)
    order = {task: place for place, task in enumerate(charts.TASK_NAMES)}
    keys = sorted(trained.keys() | asked.keys(), key=lambda key: (order.get(key[0], len(order)), key))
    return [(*key, trained[key], asked[key]) for key in keys]


def _remarks(results: Mapping[str, Any]) -> list[str]:
    return [text.against_blind(results), text.columns_moved(results), text.unparsed(results)]


def _by_reason(rejected: Sequence[RejectedFile]) -> dict[str, list[RejectedFile]]:
    reasons: dict[str, list[RejectedFile]] = {}
    for item in rejected:
        reasons.setdefault(item.reason, []).append(item)
    return reasons


def _by_task(sheets: Sequence[ContactSheet | MissingSheet]) -> dict[str, dict[str, list[Any]]]:
    """Task -> what could be drawn (`drawn`) and what could not (`missing`)."""
    tasks: dict[str, dict[str, list[Any]]] = {}
    for sheet in sheets:
        task = sheet.task if isinstance(sheet, MissingSheet) else sheet.sample.task
        kind = "missing" if isinstance(sheet, MissingSheet) else "drawn"
        tasks.setdefault(task, {"drawn": [], "missing": []})[kind].append(sheet)
    return tasks


def _curves_chart(name: str, panels: Sequence[Panel], curves: Mapping[str, Any]) -> Chart | None:
    told = f"{name}, from the first tenth of the steps to the last. {charts.in_words(panels, curves)}."
    return _chart(charts.small_multiples(panels, curves), told)


def _chart(draw: Draw | None, alt: str) -> Chart | None:
    if draw is None:
        return None
    light, dark = (data_uri(charts.svg(draw, theme), "image/svg+xml") for theme in (charts.LIGHT, charts.DARK))
    return Chart(light, dark, alt)
