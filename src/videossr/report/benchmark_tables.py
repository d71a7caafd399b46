"""The paper's tables of benchmarks, with the rows of a run beside the published ones.

`rows` are records of `evaluation.downstream.results` by policy and benchmark; `gains` are those of
`Comparison.as_record` by benchmark. A benchmark that was not run says so: no number is made up for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from videossr.evaluation.benchmarks import BENCHMARKS
from videossr.evaluation.downstream.results import Record, group_means, published_numbers
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.viubench import COLUMNS, MEANS, TASKS, paper_table
from videossr.pages import render_template
from videossr.report.text import LABELS, ROW_LABELS, signed

NOT_RUN = "not run"

_PUBLISHED = {
    "base_32": "Qwen3-VL-8B, 32 frames",
    "base_48": "Qwen3-VL-8B, 48 frames",
    "base_64": "Qwen3-VL-8B, 64 frames",
    "videossr_32": "VideoSSR-8B, 32 frames",
}
_GROUP_TITLES = {
    "general": "General video understanding",
    "long": "Long videos",
    "grounding": "Temporal grounding",
    "reasoning": "Complex reasoning",
}
_DETAIL = {"grounding": ("mIoU", "R1@0.3", "R1@0.5", "R1@0.7"), "ordering": ("exact", "step")}
_PAPER_ROWS = {"Random guess": "Random guess", "Qwen3-VL-8B": "Qwen3-VL-8B", "VideoSSR-8B": "VideoSSR-8B"}


@dataclass(frozen=True)
class Cell:
    """A number as text with what stands small below it; `kind` is empty, `soft`, `good` or `bad`."""

    text: str
    below: str = ""
    kind: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of a table; `published` rows are quoted from the paper."""

    label: str
    cells: tuple[Cell, ...]
    published: bool = False


@dataclass(frozen=True)
class PaperTable:
    """A table in the layout of the paper."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def as_grid(self) -> dict[str, Any]:
        """What a page draws: `head` and `body`. A table with more columns than rows is transposed, to fit a screen."""
        head = [Heading(column) for column in self.columns]
        body = [(Heading(row.label, row.published), row.cells) for row in self.rows]
        if len(self.columns) > len(self.rows):
            cells = zip(*(row.cells for row in self.rows), strict=True)
            head, body = [heading for heading, _ in body], list(zip(head, cells, strict=True))
        return {"title": self.title, "head": head, "body": body}


@dataclass(frozen=True)
class Heading:
    """The label of a row or a column; what stands below or beside a `published` one is quoted from the paper."""

    label: str
    published: bool = False


def tables_section(
    rows: Mapping[str, Mapping[str, Record]],
    gains: Mapping[str, Record],
    *,
    frames: int | None = None,
    made: bool = False,
) -> Markup:
    """The tables as HTML for a page: `made` where the questions are not the published ones, `frames` a video."""
    html = render_template(
        "benchmark_tables.html",
        tables=[table.as_grid() for table in paper_tables(rows, gains)],
        asked=[_asked_row(name, key, record) for name, of in rows.items() for key, record in of.items()],
        made=made,
        frames=frames,
    )
    return Markup(html)  # the template has escaped every value


def tables_page(
    rows: Mapping[str, Mapping[str, Record]], gains: Mapping[str, Record], differences: Sequence[str] = ()
) -> str:
    """The tables as a page of their own; `differences` are sentences about what else differs between the rows."""
    return render_template(
        "benchmarks.html",
        names=[_row_label(name) for name in rows],
        differences=list(differences),
        tables=tables_section(rows, gains),
        source=paper_table()["source"].rsplit(",", 1)[0],
    )


def paper_tables(rows: Mapping[str, Mapping[str, Record]], gains: Mapping[str, Record]) -> list[PaperTable]:
    """The tables that have something to show: VIUBench by column, the four groups, all of them, metrics in detail."""
    tables = [_group_table(group, rows, gains) for group in _GROUP_TITLES if _any_run(group, rows)]
    tables.append(_means_table(rows))
    details = [_detail_table(family, rows, gains) for family in _DETAIL]
    viubench = [_viubench_table(rows, gains)] if any("viubench" in of for of in rows.values()) else []
    return [*viubench, *tables, *(table for table in details if table is not None)]


def _any_run(group: str, rows: Mapping[str, Mapping[str, Record]]) -> bool:
    return any(BENCHMARKS[key].paper_group == group for of in rows.values() for key in of)


def _group_table(group: str, rows: Mapping[str, Mapping[str, Record]], gains: Mapping[str, Record]) -> PaperTable:
    keys = [key for key, entry in BENCHMARKS.items() if entry.paper_group == group]
    found = [
        TableRow(label, tuple(_published(published_numbers(column).get(key)) for key in keys), published=True)
        for column, label in _PUBLISHED.items()
    ]
    for name, records in rows.items():
        cells = (_mean(records[key], records[key]["metric"]) if key in records else _not_run() for key in keys)
        found.append(TableRow(_row_label(name), tuple(cells)))
    if gains:
        cells = (_gain(gains[key], gains[key]["metric"]) if key in gains else _not_run() for key in keys)
        found.append(TableRow("Gain, in points", tuple(cells)))
    columns = tuple(f"{BENCHMARKS[key].title}, {BENCHMARKS[key].metric}" for key in keys)
    return PaperTable(_GROUP_TITLES[group], columns, tuple(found))


def _means_table(rows: Mapping[str, Mapping[str, Record]]) -> PaperTable:
    """Means of the groups; the published rows also over the benchmarks that were run, with which ours compare."""
    run = list(dict.fromkeys(key for of in rows.values() for key in of))
    found = []
    for column, label in _PUBLISHED.items():
        numbers = published_numbers(column)
        whole, same = group_means(numbers), group_means({key: numbers[key] for key in run if key in numbers})
        cells = []
        for name, mean in whole.items():
            part = same[name]
            below = f"the {part.run} run: {part.mean:.1f}" if part.mean is not None and part.run < mean.run else ""
            cells.append(_published(mean.mean, below))
        found.append(TableRow(label, tuple(cells), published=True))
    for name, records in rows.items():
        means = group_means({key: record["columns"][record["metric"]]["mean"] for key, record in records.items()})
        cells = [
            _not_run() if mean.mean is None else Cell(f"{mean.mean:.1f}", f"{mean.run} of {mean.of}")
            for mean in means.values()
        ]
        found.append(TableRow(_row_label(name), tuple(cells)))
    columns = (*_GROUP_TITLES.values(), f"All {len(BENCHMARKS)}")
    return PaperTable("Means of the groups, and of all benchmarks", columns, tuple(found))


def _detail_table(
    family: str, rows: Mapping[str, Mapping[str, Record]], gains: Mapping[str, Record]
) -> PaperTable | None:
    keys = [
        key for key, entry in BENCHMARKS.items() if entry.family == family and any(key in of for of in rows.values())
    ]
    if not keys:
        return None
    places = [(key, metric) for key in keys for metric in _DETAIL[family]]
    found = []
    for column, label in _PUBLISHED.items():
        scores = [BENCHMARKS[key].published.get(column, {}).get(metric) for key, metric in places]
        found.append(TableRow(label, tuple(map(_published, scores)), published=True))
    for name, records in rows.items():
        cells = (_mean(records[key], metric) if key in records else _not_run() for key, metric in places)
        found.append(TableRow(_row_label(name), tuple(cells)))
    if gains:
        cells = (_gain(gains[key], metric) if key in gains else _not_run() for key, metric in places)
        found.append(TableRow("Gain, in points", tuple(cells)))
    columns = tuple(f"{BENCHMARKS[key].title}, {metric}" for key, metric in places)
    return PaperTable(f"{family.capitalize()} in detail", columns, tuple(found))


def _viubench_table(rows: Mapping[str, Mapping[str, Record]], gains: Mapping[str, Record]) -> PaperTable:
    paper = paper_table()["rows"]
    found = [
        TableRow(label, tuple(_published(paper[model][column]) for column in MEANS), published=True)
        for model, label in _PAPER_ROWS.items()
    ]
    for name, records in rows.items():
        if "viubench" in records:
            found.append(TableRow(_row_label(name), tuple(_viubench_cells(records["viubench"], _mean))))
    if "viubench" in gains:
        found.append(TableRow("Gain, in points", tuple(_viubench_cells(gains["viubench"], _gain))))
    return PaperTable("VIUBench", tuple(LABELS[column] for column in MEANS), tuple(found))


def _viubench_cells(record: Record, cell: Callable[[Record, str], Cell]) -> list[Cell]:
    """A cell for each column, each task and the whole benchmark."""
    source = "differences" if "differences" in record else "columns"
    variants, tasks = record["groups"]["variant"], record["groups"]["task"]
    found = [variants.get(variant) for _, variant in COLUMNS.values()] + [tasks.get(task) for task in TASKS]
    cells = [_not_run() if columns is None else cell({**record, source: columns}, "score") for columns in found]
    return [*cells, cell(record, "score")]


def _mean(record: Record, metric: str) -> Cell:
    column = record["columns"][metric]
    low, high = column["ci95"]
    return Cell(f"{column['mean']:.1f}", f"{low:.1f}–{high:.1f}" if column["videos"] >= MIN_VIDEOS else "no interval")


def _gain(record: Record, metric: str) -> Cell:
    column = record["differences"][metric]
    low, high = column["ci95"]
    if column["videos"] < MIN_VIDEOS:
        return Cell(signed(column["mean"]), "no interval")
    kind = "good" if low > 0 else "bad" if high < 0 else ""
    return Cell(signed(column["mean"]), f"{signed(low)} to {signed(high)}", kind)


def _published(value: float | None, below: str = "") -> Cell:
    return Cell("–", kind="soft") if value is None else Cell(f"{value:.1f}", below)


def _not_run() -> Cell:
    return Cell(NOT_RUN, kind="soft")


def _row_label(name: str) -> str:
    return ROW_LABELS.get(name, name)


def _asked_row(name: str, key: str, record: Record) -> dict[str, Any]:
    """What became of the questions, and what a guess would score."""
    expected = BENCHMARKS[key].count
    return {
        "policy": _row_label(name),
        "title": record["title"],
        "expected": expected,
        "is_part": expected is not None and record["counts"]["questions"] != expected,
        "counts": record["counts"],
        "coverage": record["coverage"],
        "mean": record["columns"][record["metric"]]["mean"],
        "parsed_mean": record["parsed_means"].get(record["metric"]),
        "chance": record["chance"].get(record["metric"]),
    }
