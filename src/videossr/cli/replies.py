"""Commands about stored replies, which need no model: score them again, compare two policies, browse the items."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from videossr.cli.benchmarks import FOLDER
from videossr.cli.narrow_table import narrow_table
from videossr.errors import ConfigError
from videossr.paths import FRAMES, PARAMS, require_file
from videossr.storage.atomic import write_text
from videossr.terminal import printable

if TYPE_CHECKING:
    from videossr.evaluation.benchmarks import Column
    from videossr.evaluation.downstream.comparison import Comparison
    from videossr.evaluation.downstream.evaluations import Evaluation

SAMPLES = Path("data/samples")

Annotations = Annotated[Path, typer.Option(help="the folder with a folder of annotations for each benchmark")]
Samples = Annotated[Path, typer.Option(help="the folder with viubench.parquet, for replies of the run's own VIUBench")]
Out = Annotated[Path | None, typer.Option(help="also write everything to this file, as JSON")]
RESAMPLES = typer.Option(min=100, help="resamples of the bootstrap behind the 95 % intervals")


def rescore(
    paths: Annotated[list[Path], typer.Argument(help="files of replies, or folders of them")],
    annotations: Annotations = FOLDER,
    samples: Samples = SAMPLES,
    resamples: Annotated[int, RESAMPLES] = 2000,
    out: Out = None,
) -> None:
    """Score stored replies again, without a model: the number of each benchmark over all its questions."""
    from videossr.evaluation.downstream.results import summarise

    records, console = {}, Console()
    for each in read_evaluations(paths, annotations, samples):
        record = summarise(each.items, each.replies, num_resamples=resamples)
        records[str(each.path)] = {**record, "header": dict(each.header)}
        counts = ", ".join(f"{count:,} {name}" for name, count in record["counts"].items())
        print(printable(f"{each.key}, {each.path}: {counts}"))
        console.print(_score_table(record))
    _write(out, records)


def compare(
    before: Annotated[Path, typer.Argument(help="a file of replies, or a folder of them")],
    after: Annotated[Path, typer.Argument(help="the same of another policy")],
    annotations: Annotations = FOLDER,
    samples: Samples = SAMPLES,
    flipped: Annotated[bool, typer.Option("--flipped", help="list the items that became right or wrong")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="also list the difference of each group")] = False,
    resamples: Annotated[int, RESAMPLES] = 2000,
    out: Out = None,
    page: Annotated[Path | None, typer.Option(help="also write the paper's tables to this file, as HTML")] = None,
) -> None:
    """Compare two policies on the same questions: paired differences with 95 % intervals, and items that changed."""
    from videossr.evaluation.downstream.comparison import compare_evaluations
    from videossr.evaluation.downstream.evaluations import match_evaluations

    sides = [read_evaluations([path], annotations, samples) for path in (before, after)]
    pairs, alone = match_evaluations(*sides)
    comparisons = [compare_evaluations(*pair, num_resamples=resamples) for pair in pairs]
    console = Console()
    console.print(_comparison_table(comparisons, groups))
    for each in alone:
        print(printable(f"{each.path} has no partner of the same benchmark and setting: it is not compared"))
    differing = [sentence for pair in pairs for sentence in _setting_differences(*pair)]
    for sentence in differing:
        print(sentence)
    if flipped:
        for comparison in comparisons:
            console.print(_flip_table(comparison))
    _write(out, {str(pair[1].path): each.as_record() for pair, each in zip(pairs, comparisons, strict=True)})
    if page is not None:
        _write_page(page, (str(before), str(after)), pairs, comparisons, differing, resamples)


def browse(
    out: Annotated[Path, typer.Option(help="the folder to write; open its index.html")],
    before: Annotated[Path, typer.Argument(help="a file of replies, or a folder of them")],
    after: Annotated[Path | None, typer.Argument(help="the same of another policy")] = None,
    annotations: Annotations = FOLDER,
    samples: Samples = SAMPLES,
    videos: Annotated[
        Path | None, typer.Option(help="the folder with a folder of videos for each key; without: that of annotations")
    ] = None,
    thumbnails: Annotated[
        int, typer.Option(min=0, help="items whose frames are drawn, those that changed first")
    ] = 200,
    frames: Annotated[int, typer.Option(min=1, max=64, help="frames drawn for an item")] = 12,
    width: Annotated[int, typer.Option(min=32, max=1024, help="width of a drawn frame in pixels")] = 176,
) -> None:
    """Write a page to look at each question: frames, answer, the replies of one or two policies, filters, search."""
    from videossr.evaluation.downstream.evaluations import match_evaluations
    from videossr.report.item_browser import browser_items, first_to_draw, write_item_browser
    from videossr.report.item_frames import draw_strips

    sides = [read_evaluations([path], annotations, samples) for path in (before, after) if path is not None]
    together: list[tuple[Evaluation, ...]] = [(each,) for each in sides[0]]
    if after is not None:
        together = [_with_same_items(*pair) for pair in match_evaluations(*sides)[0]]
    items = browser_items(together)
    asked = [(place, items[place].evaluations[0], items[place].item) for place in first_to_draw(items, thumbnails)]
    strips, failed = draw_strips(asked, videos or annotations, FRAMES, frames=frames, width=width)
    write_item_browser(out, items, ("before", "after") if after else ("policy",), strips)
    for place, reason in list(failed.items())[:1]:
        print(printable(f"{len(failed)} items have no frames, first {items[place].item.id}: {reason}"))
    print(printable(f"{len(items):,} items, frames of {len(strips):,}: open {out / 'index.html'} in a browser"))


def gallery(
    out: Annotated[Path, typer.Option(help="the folder to write; open its index.html")],
    samples: Samples = SAMPLES,
    replies: Annotated[
        list[Path] | None,
        typer.Option(help="a file of replies to viubench.parquet; repeat it. Without: those of the last run, if any"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="samples of each set, evenly over their kinds")] = 200,
    width: Annotated[int, typer.Option(min=32, max=1024, help="the largest width of a frame in pixels")] = 256,
) -> None:
    """Write a page with samples: play each clip as the policy sees it, reveal answer, edit, replies and rewards."""
    from videossr.recipe import load_recipe
    from videossr.report.sample_gallery import write_run_gallery

    require_file(samples / "train.parquet")
    tasks = load_recipe(PARAMS).pretext.tasks
    number = write_run_gallery(out, tasks, count=count, width=width, samples=samples, replies=replies)
    print(printable(f"{number:,} samples: open {out / 'index.html'} in a browser"))


def _with_same_items(before: "Evaluation", after: "Evaluation") -> "tuple[Evaluation, Evaluation]":
    from videossr.errors import BenchmarkError

    if before.items.digest != after.items.digest:
        raise BenchmarkError(
            f"both must hold replies to the same questions, {before.path} is of {before.key} and {after.path} of "
            f"{after.key}: name two of one benchmark"
        )
    return before, after


def read_evaluations(paths: Sequence[Path], annotations: Path, samples: Path) -> "list[Evaluation]":
    """The evaluations in files and folders of replies, with their items."""
    from videossr.evaluation.downstream.evaluations import ItemFolders, reply_files

    folders = ItemFolders(annotations, samples)
    return [folders.read(file) for path in paths for file in reply_files(path)]


def _score_table(record: Mapping[str, Any]) -> Table:
    """One row for each metric, over all questions and over those whose reply could be read."""
    from videossr.evaluation.intervals import MIN_VIDEOS

    table = narrow_table("", ("metric",), ("percent", "95 %", "if parsed", "chance"))
    for metric, column in record["columns"].items():
        low, high = column["ci95"]
        table.add_row(
            metric,
            f"{column['mean']:.1f}",
            f"{low:.1f}-{high:.1f}" if column["videos"] >= MIN_VIDEOS else "-",  # few videos give no interval
            _percent(record["parsed_means"].get(metric)),
            _percent(record["chance"].get(metric)),
        )
    return table


def _comparison_table(comparisons: "Sequence[Comparison]", with_groups: bool) -> Table:
    title = "percent; points [95 %], * excludes zero; items + right, - wrong"
    table = narrow_table(title, ("benchmark",), ("before", "after", "difference", "changed", "units"))
    for each in comparisons:
        table.add_row(each.key)
        for metric, difference in each.differences.items():
            changed = f"+{each.turned_right:,} -{each.turned_wrong:,}" if metric == each.metric else ""
            means = (f"{side[metric].mean:.1f}" for side in (each.before, each.after))
            table.add_row(f"  {metric}", *means, _points(difference), changed, f"{difference.units:,}")
        for group, values in each.groups.items() if with_groups else ():
            for value, columns in values.items():
                if each.metric in columns:
                    label = Text(printable(f"  {group}: {value}"))
                    difference = columns[each.metric]
                    table.add_row(label, "", "", _points(difference), "", f"{difference.units:,}")
    return table


def _flip_table(comparison: "Comparison") -> Table:
    title = f"{comparison.key}: {len(comparison.flips)} items changed"
    table = narrow_table(title, ("item", "became", "answer", "reply before", "reply after"), ())
    for flip in comparison.flips:
        became = "right" if flip.after > flip.before else "wrong"
        cells = (flip.item.id, became, flip.item.answer, flip.reply_before or "", flip.reply_after or "")
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _setting_differences(before: "Evaluation", after: "Evaluation") -> list[str]:
    one, two = before.setting, after.setting
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    if not names:
        return []
    return [f"{before.key}: the two also differ in {', '.join(names)}: the difference is not the policy's alone"]


def _write_page(
    page: Path,
    names: tuple[str, str],
    pairs: "Sequence[tuple[Evaluation, Evaluation]]",
    comparisons: "Sequence[Comparison]",
    differing: Sequence[str],
    resamples: int,
) -> None:
    from videossr.evaluation.downstream.results import summarise
    from videossr.report.benchmark_tables import tables_page

    rows = {
        name: {
            pair[side].key: summarise(pair[side].items, pair[side].replies, num_resamples=resamples) for pair in pairs
        }
        for side, name in enumerate(names)
    }
    if len(rows[names[0]]) < len(pairs):
        raise ConfigError("a page has one setting of each benchmark, got several: name two files or smaller folders")
    write_text(page, tables_page(rows, {each.key: each.as_record() for each in comparisons}, differing))
    print(printable(f"written to {page}"))


def _points(column: "Column") -> str:
    star = "*" if column.low > 0 or column.high < 0 else " "
    return f"{column.mean:+.1f} [{column.low:+.1f}, {column.high:+.1f}]{star}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _write(out: Path | None, content: Mapping[str, Any]) -> None:
    if out is not None:
        write_text(out, json.dumps(content, indent=2) + "\n")
        print(printable(f"written to {out}"))
