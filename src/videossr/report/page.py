"""The page of the report: inputs, charts and contact sheets in one self-contained HTML file."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from videossr.evaluation.viubench import COLUMNS, TASKS, paper_table
from videossr.pages import data_uri, render_template
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import RejectedFile, Sample, Video
from videossr.report import charts, text
from videossr.report.benchmark_tables import tables_section
from videossr.report.charts import CurvePanel, Draw
from videossr.report.contact_sheets import ContactSheet, MissingSheet
from videossr.report.inputs import ReportInputs

MAX_FILES_LISTED = 200


@dataclass(frozen=True)
class Chart:
    """One chart as data URIs, for light and for dark pages, with its alternative text."""

    light: str
    dark: str
    alt: str


def render_page(title: str, inputs: ReportInputs, sheets: Sequence[ContactSheet | MissingSheet]) -> str:
    """The whole page as HTML. Every text from files, videos or models is escaped."""
    filters: dict[str, Callable[..., Any]] = {
        "percent": text.percent,
        "signed": text.signed,
        "label": text.LABELS.__getitem__,
    }
    return render_template(
        "report.html",
        filters,
        title=title,
        rows=inputs.results["rows"],
        gain=inputs.results["gain"],
        row_labels=text.ROW_LABELS,
        columns=["overall", *TASKS, *COLUMNS],
        verdict=text.verdict(inputs.results),
        remarks=[
            describe(inputs.results)
            for describe in (text.against_blind, text.columns_moved, text.count_correlations, text.unparsed)
        ],
        caution=text.caution(inputs.results),
        too_few=text.too_few(inputs.results),
        videos=video_statistics(inputs.videos),
        rejected=_by_reason(inputs.rejected),
        max_files=MAX_FILES_LISTED,
        sample_counts=sample_counts(inputs.train, inputs.bench),
        gate=inputs.gate,
        training=text.training_sentences(inputs.curves),
        training_warnings=inputs.curves.get("warnings", []),
        collapsed=text.collapsed_columns(inputs.scored["after"]),
        curves_chart=_curves_chart("Loss and reward", charts.REWARD_PANELS, inputs.curves),
        replies_chart=_curves_chart("How the replies changed", charts.REPLY_PANELS, inputs.curves),
        warning_signs=charts.warning_signs(charts.REPLY_PANELS, inputs.curves),
        bars_chart=_chart(charts.viubench_bars(inputs.results), "VIUBench scores with 95 % intervals"),
        paper=paper_table(),
        benchmarks=_benchmarks(inputs.downstream),
        sheets=_by_task(sheets),
        perturbations=PERTURBATIONS,
    )


def _benchmarks(downstream: Mapping[str, Any]) -> Markup | None:
    """The tables of the benchmarks; None where the run has none."""
    if not any(downstream["rows"].values()):
        return None
    return tables_section(downstream["rows"], downstream["gains"], frames=downstream["frames"], made=downstream["made"])


def video_statistics(videos: Sequence[Video]) -> dict[str, Any]:
    """Number, durations and sizes of the usable videos."""
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


def sample_counts(train: Sequence[Sample], bench: Sequence[Sample]) -> list[tuple[str, str, int, int]]:
    """(task, variant, training samples, benchmark questions), for every task and variant that has one."""
    num_train = Counter((sample.task, sample.variant) for sample in train)
    num_bench = Counter((sample.task, sample.variant) for sample in bench)
    order = {task: i for i, task in enumerate(charts.TASK_NAMES)}
    keys = sorted(num_train.keys() | num_bench.keys(), key=lambda key: (order.get(key[0], len(order)), key))
    return [(*key, num_train[key], num_bench[key]) for key in keys]


def _by_reason(rejected: Sequence[RejectedFile]) -> dict[str, list[RejectedFile]]:
    reasons: dict[str, list[RejectedFile]] = {}
    for item in rejected:
        reasons.setdefault(item.reason, []).append(item)
    return reasons


def _by_task(sheets: Sequence[ContactSheet | MissingSheet]) -> dict[str, dict[str, list[Any]]]:
    """Task -> its drawn sheets (`drawn`) and its missing ones (`missing`)."""
    tasks: dict[str, dict[str, list[Any]]] = {}
    for sheet in sheets:
        task = sheet.task if isinstance(sheet, MissingSheet) else sheet.sample.task
        kind = "missing" if isinstance(sheet, MissingSheet) else "drawn"
        tasks.setdefault(task, {"drawn": [], "missing": []})[kind].append(sheet)
    return tasks


def _curves_chart(name: str, panels: Sequence[CurvePanel], curves: Mapping[str, Any]) -> Chart | None:
    alt = f"{name}, from the first tenth of the steps to the last. {charts.describe_curves(panels, curves)}."
    return _chart(charts.small_multiples(panels, curves), alt)


def _chart(draw: Draw | None, alt: str) -> Chart | None:
    if draw is None:
        return None
    light, dark = (data_uri(charts.svg(draw, theme), "image/svg+xml") for theme in (charts.LIGHT, charts.DARK))
    return Chart(light, dark, alt)
