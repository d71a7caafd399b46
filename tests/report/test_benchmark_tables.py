"""The paper's tables with the rows of a run: what stands in each cell, and the page in a real browser."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import open_browser
from tests.support.made_items import choice, items_of
from videossr.evaluation.benchmarks import BENCHMARKS, Item, Items, VideoRef
from videossr.evaluation.downstream.comparison import compare
from videossr.evaluation.downstream.results import summarise
from videossr.evaluation.viubench import COLUMNS, TASKS
from videossr.report.benchmark_tables import NOT_RUN, PaperTable, paper_tables, tables_page


def run() -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows and gains of two policies on made items of Video-MME, QVHighlights and VCRBench."""
    videomme = items_of("videomme", [choice(str(n), "A") for n in range(40)])
    windows = [
        Item(str(n), (VideoRef(f"{n}"),), "?", "-", windows=((0.0, 10.0),), duration_seconds=20, cluster=str(n))
        for n in range(8)
    ]
    orders = [Item(str(n), (VideoRef(f"{n}"),), "?", "2,1,3", cluster=str(n)) for n in range(4)]
    asked: list[tuple[Items, dict[str, str], dict[str, str]]] = [
        (videomme, {str(n): "A" if n < 10 else "B" for n in range(40)}, {str(n): "A" for n in range(40)}),
        (items_of("qvhighlights", windows), dict.fromkeys(map(str, range(8)), "0 - 5"), {"0": "0 - 10"}),
        (items_of("vcrbench", orders), dict.fromkeys("0123", "2, 1, 3"), dict.fromkeys("0123", "2, 1, 3")),
    ]
    rows = {
        name: {items.benchmark.key: summarise(items, replies[side]) for items, *replies in asked}
        for side, name in enumerate(("before", "after"))
    }
    gains = {items.benchmark.key: compare(items, before, after).as_record() for items, before, after in asked}
    return rows, gains


def cells(table: PaperTable, label: str) -> dict[str, tuple[str, str, str]]:
    (row,) = (row for row in table.rows if row.label == label)
    return {column: (cell.text, cell.below, cell.kind) for column, cell in zip(table.columns, row.cells, strict=True)}


def tables() -> dict[str, PaperTable]:
    return {table.title: table for table in paper_tables(*run())}


def test_a_group_has_ours_beside_the_published_rows_and_says_what_was_not_run():
    table = tables()["Long videos"]
    assert cells(table, "Qwen3-VL-8B, 32 frames")["Video-MME, accuracy"] == ("64.1", "", "")
    assert cells(table, "VideoSSR-8B, 32 frames")["LVBench, accuracy"] == ("41.5", "", "")
    assert [row.published for row in table.rows] == [True] * 4 + [False] * 3
    before = cells(table, "Before training")
    assert before["Video-MME, accuracy"][0] == "25.0" and before["LVBench, accuracy"] == (NOT_RUN, "", "soft")
    text, below, kind = cells(table, "Gain, in points")["Video-MME, accuracy"]
    assert (text, kind) == ("+75.0", "good") and below.startswith("+6")


def test_groups_without_a_benchmark_that_was_run_have_no_table():
    assert list(tables()) == [
        "Long videos",
        "Temporal grounding",
        "Complex reasoning",
        "Means of the groups, and of all benchmarks",
        "Grounding in detail",
        "Ordering in detail",
    ]


def test_means_say_over_how_many_and_the_published_ones_are_also_over_the_same_part():
    table = tables()["Means of the groups, and of all benchmarks"]
    assert cells(table, "After training")["Long videos"] == ("100.0", "1 of 4", "")
    assert cells(table, "After training")["General video understanding"][0] == NOT_RUN
    published = cells(table, "Qwen3-VL-8B, 32 frames")
    # (64.1 + 39.6 + 58.6 + 40.1) / 4 over the group, 64.1 over the one that was run; 64.1, 43.7 and 7.4 of all.
    assert published["Long videos"] == ("50.6", "the 1 run: 64.1", "")
    assert published["All 17"][1] == "the 3 run: 38.4"


def test_grounding_and_ordering_are_shown_with_all_their_metrics():
    found = tables()
    published = cells(found["Grounding in detail"], "Qwen3-VL-8B, 64 frames")
    assert [text for text, *_ in published.values()] == ["48.6", "64.5", "48.6", "33.9"]
    ours = cells(found["Grounding in detail"], "Before training")
    assert [text for text, *_ in ours.values()] == ["50.0", "100.0", "100.0", "0.0"]
    gain = cells(found["Grounding in detail"], "Gain, in points")["QVHighlights (validation), R1@0.5"]
    assert gain[0] == "-87.5".replace("-", "−") and gain[2] == "bad"
    few = cells(found["Ordering in detail"], "Before training")
    assert few["VCRBench, step"] == ("100.0", "no interval", "")


def test_viubench_is_shown_by_column_beside_the_papers_rows():
    def item(variant: str, task: str, answer: str) -> Item:
        values = {"edit": '{"num_frames": 48, "length": 12}'}
        groups = {"task": (task,), "variant": (variant,)}
        return Item(variant, (VideoRef("v"),), "?", answer, groups=groups, cluster="v", prompt_values=values, task=task)

    items = items_of("viubench", [item("mirror", "grounding", "1.0-4.0"), item("6", "jigsaw", "213654")])
    record = summarise(items, {"mirror": "1.0-2.5", "6": "213654"})
    table = paper_tables({"after": {"viubench": record}}, {})[0]
    ours = {column: text for column, (text, *_) in cells(table, "After training").items()}
    assert (ours["Mirror"], ours["Jigsaw 6"], ours["Jigsaw 8"], ours["Overall"]) == ("50.0", "100.0", NOT_RUN, "75.0")
    assert (ours["Grounding"], ours["Jigsaw"], ours["Counting"]) == ("50.0", "100.0", NOT_RUN)
    assert cells(table, "VideoSSR-8B")["Zoom out"][0] == "94.4"
    assert cells(table, "VideoSSR-8B")["Grounding"][0] == "76.2"


def test_no_row_makes_up_a_number_for_a_benchmark_that_was_not_run():
    run_keys = set(run()[0]["after"])
    for table in paper_tables(*run())[:3]:
        after = cells(table, "After training")
        for key, entry in BENCHMARKS.items():
            name = f"{entry.title}, {entry.metric}"
            if name in after:
                assert (after[name][0] == NOT_RUN) == (key not in run_keys)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_loads_nothing(tmp_path: Path, scheme: str):
    rows, gains = run()
    path = tmp_path / "page.html"
    path.write_text(tables_page(rows, gains, ["<script>window.harm = 1</script>"]), encoding="utf-8")
    with open_browser(tmp_path / "profile") as page:
        page.use_scheme(scheme)
        page.resize(375, 720)
        page.open(path)
        assert page.run("document.documentElement.scrollWidth <= 375 && window.harm === undefined")
        assert (
            page.run("getComputedStyle(document.body).colorScheme !== '' && document.querySelectorAll('table').length")
            == 7
        )
        assert page.requests == [path.absolute().as_uri()] and page.messages == []


def whole_run() -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows and gains of all sixteen benchmarks and VIUBench, each with the numbers of one of its family in `run`."""
    rows, gains = run()
    like = {"grounding": "qvhighlights", "ordering": "vcrbench"}
    sources = {key: like.get(entry.family, "videomme") for key, entry in BENCHMARKS.items() if key != "viubench"}
    full = [{key: records[source] for key, source in sources.items()} for records in (*rows.values(), gains)]
    for records in full:
        values = "differences" if "differences" in records["videomme"] else "columns"
        score = {"score": records["videomme"][values]["accuracy"]}
        groups = {"variant": {variant: score for _, variant in COLUMNS.values()}, "task": dict.fromkeys(TASKS, score)}
        records["viubench"] = {**records["videomme"], "metric": "score", values: score, "groups": groups}
    return dict(zip(rows, full, strict=False)), full[-1]


def test_every_table_of_a_whole_run_fits_a_screen_of_1280_pixels(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text(tables_page(*whole_run()), encoding="utf-8")
    with open_browser(tmp_path / "profile") as page:
        page.resize(1280, 1500)
        page.open(path)
        page.run("document.querySelector('details').open = true")
        assert page.run("document.querySelectorAll('table').length") == 9
        assert page.scrolled() == page.cut_off() == []


def test_a_table_with_more_columns_than_rows_is_transposed_with_its_published_columns_marked():
    whole = {table.title: table for table in paper_tables(*whole_run())}
    grid = whole["Grounding in detail"].as_grid()
    assert [heading.label for heading in grid["head"][:2]] == ["Qwen3-VL-8B, 32 frames", "Qwen3-VL-8B, 48 frames"]
    assert [heading.published for heading in grid["head"]] == [True] * 4 + [False] * 3
