"""The page on the benchmarks says what the table of entries says."""

from tests.support import ROOT
from videossr.evaluation import BENCHMARKS
from videossr.evaluation.benchmarks import Benchmark
from videossr.evaluation.benchmarks.checks import RULES
from videossr.evaluation.benchmarks.entries import KnownFault


def page() -> str:
    return (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")


def benchmark_row(entry: Benchmark) -> str:
    count = f"{entry.count:,}" if entry.count else "not known"
    gated = " (gated)" if entry.gated else ""
    cells = [f"`{entry.key}`", f"[{entry.title}]({entry.source})", entry.paper_group, count]
    revision = f"`{entry.revision[:12]}`" if entry.revision else "none" if entry.family == "pretext" else "not known"
    return "| " + " | ".join([*cells, entry.licence + gated, entry.obtain, revision, entry.witness]) + " |"


def layout_row(entry: Benchmark) -> str:
    layout = entry.default_layout
    paths = [f"`FOLDER/{part.paths[0]}`" for part in layout.parts]
    shown = ", ".join(paths) if len(paths) < 6 else f"{paths[0]} and {len(paths) - 1} more of that folder"
    side = "".join(f", `FOLDER/{file.path}` (may be absent)" for file in layout.side_files)
    return f"| `{entry.key}` | {shown}{side} | {', '.join(f'`VIDEOS/{path}`' for path in layout.fields.videos)} |"


def fault_row(entry: Benchmark, fault: KnownFault) -> str:
    items = ", ".join(fault.ids) if fault.ids else f"{fault.count}"
    return f"| `{entry.key}` | {RULES[fault.rule]} | {items} | {fault.note} |"


def test_the_page_has_the_row_of_every_benchmark():
    assert [row for entry in BENCHMARKS.values() if (row := benchmark_row(entry)) not in page()] == []


def test_the_page_has_the_folders_of_every_benchmark():
    assert [row for entry in BENCHMARKS.values() if (row := layout_row(entry)) not in page()] == []


def test_the_page_lists_every_known_fault_and_every_note():
    rows = [fault_row(entry, fault) for entry in BENCHMARKS.values() for fault in entry.known_faults]
    rows += [f"- {entry.title}: {note}" for entry in BENCHMARKS.values() for note in entry.notes]
    assert [row for row in rows if row not in page()] == []
