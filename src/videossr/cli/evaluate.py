"""The command that asks any policy the questions of any benchmark."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from videossr.cli.benchmarks import FOLDER
from videossr.cli.narrow_table import narrow_table
from videossr.errors import BenchmarkError, ConfigError
from videossr.terminal import printable
from videossr.workspace import project_root

if TYPE_CHECKING:
    from videossr.evaluation.benchmarks import Column, FoundVideos, Items, Score

OUT = Path("work/downstream")


def evaluate_policy(
    policy: Annotated[
        str,
        typer.Option(
            help="a folder with a checkpoint or an adapter, a name of the Hub, models:/videossr@champion, or "
            "endpoint:URL; blind:POLICY is that policy without the video"
        ),
    ],
    benchmark: Annotated[str, typer.Option(help="keys with commas, for example viubench,mvbench; all: every one")],
    frames: Annotated[list[int], typer.Option(help="the most frames of a video; several numbers: --frames 32 48 64")],
    more_frames: Annotated[list[int] | None, typer.Argument(metavar="[FRAMES]...", hidden=True)] = None,
    annotations: Annotated[Path, typer.Option(help="the folder with a folder of annotations for each key")] = FOLDER,
    videos: Annotated[
        Path | None, typer.Option(help="the folder with a folder of videos for each key; without: that of annotations")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="only the first N questions of each benchmark")] = None,
    protocol: Annotated[str, typer.Option(help="videossr, the paper's prompts, or official, the authors' own")] = (
        "videossr"
    ),
    part: Annotated[
        bool, typer.Option("--part", help="the annotations are a part of the benchmark: do not compare their number")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="questions that a policy gets at a time")] = 16,
    out: Annotated[Path, typer.Option(help="the folder of the replies; a run that was stopped continues there")] = OUT,
) -> None:
    """Ask any policy the questions of benchmarks, and score its replies. Under `accelerate launch`, processes share."""
    from videossr import tracking
    from videossr.evaluation.downstream import FrameBudget, answer_items, open_policy
    from videossr.models.processes import shared_work

    numbers = sorted({*frames, *(more_frames or [])})
    chosen = _load(_keys(benchmark), annotations, videos or annotations, counts=not part)
    results = []
    with shared_work() as shard:
        named = open_policy(policy, partial(tracking.registered_checkpoint, project_root()))
        for items, found in chosen:
            # VIUBench stores its frames: it is asked once.
            for number in numbers[:1] if items.benchmark.family == "pretext" else numbers:
                answers = answer_items(
                    named.policy,
                    items,
                    found,
                    out,
                    budget=FrameBudget(num_frames=number),
                    protocol=protocol,
                    policy_id=named.policy_id,
                    batch_size=batch_size,
                    limit=limit,
                    shard=shard,
                    progress=shard[0] == 0,
                )
                results.append((items.first(limit), answers.path))
    if shard[0] == 0:  # all processes have ended: the files are complete
        _print_results(policy, results)


def _keys(names: str) -> list[str]:
    from videossr.evaluation.benchmarks import BENCHMARKS

    keys = list(BENCHMARKS) if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [key for key in keys if key not in BENCHMARKS]
    if unknown:
        raise ConfigError(f"a benchmark must be one of {', '.join(BENCHMARKS)}, got {unknown[0]!r}")
    return keys


def _load(keys: list[str], annotations: Path, videos: Path, counts: bool) -> "list[tuple[Items, FoundVideos]]":
    """The questions and videos of all benchmarks: what is missing of the last is known before the first is asked."""
    from videossr.evaluation.benchmarks import load
    from videossr.evaluation.benchmarks.local_copy import find_benchmark_videos

    chosen = []
    for key in keys:
        items = load(key, annotations / key, counts=counts)
        found = find_benchmark_videos(items, videos / key)
        if not found.present:
            raise BenchmarkError(
                f"{key}: {videos / key} must hold its videos, all {found.num_videos:,} are missing "
                f"(the first is {found.missing[0]}): {items.benchmark.obtain}"
            )
        if found.missing:
            asked = len(items) - len(found.items_missing)
            print(
                f"{key}: {len(found.missing):,} of {found.num_videos:,} videos are missing: "
                f"{asked:,} of {len(items):,} questions are asked, the others count as wrong"
            )
        chosen.append((items, found))
    return chosen


def _print_results(policy: str, results: "list[tuple[Items, Path]]") -> None:
    from videossr.evaluation.benchmarks import score
    from videossr.evaluation.downstream import read_answers
    from videossr.evaluation.downstream.store import errors_path

    numbers = ("frames", "score", "95 %", "chance", "parsed", "if parsed", "questions")
    table = narrow_table(f"{printable(policy)}: percent of all questions", ("benchmark",), numbers)
    lines = []
    for items, path in results:
        stored, ids = read_answers(path), {item.id for item in items}
        result = score(items, {item_id: reply for item_id, reply in stored.for_scoring.items() if item_id in ids})
        table.add_row(items.benchmark.key, str(stored.header["frames"]["num_frames"]), *_cells(result))
        if items.benchmark.family == "pretext":
            for task, columns in result.groups["task"].items():
                column = columns[result.metric]
                table.add_row(f"  {task}", "", *_interval(column), "", "", "", f"{column.units:,}")
        lines.append(f"replies to {items.benchmark.key}: {path}")
        if stored.errors:
            first = printable(next(iter(stored.errors.values())))
            lines.append(
                f"{len(stored.errors):,} questions failed ({first}); the same command tries them again; all failures: "
                f"{errors_path(path)}"
            )
    Console().print(table)
    print("\n".join(lines))


def _cells(result: "Score") -> list[str]:
    chance, of_parsed = (values.get(result.metric) for values in (result.chance, result.parsed_means))
    return [
        *_interval(result.number),
        _percent(chance),
        f"{result.counts.coverage:.1f}",
        _percent(of_parsed),
        f"{result.counts.questions:,}",
    ]


def _interval(column: "Column") -> tuple[str, str]:
    """The mean and its interval; too few videos have none."""
    from videossr.evaluation.intervals import MIN_VIDEOS

    return f"{column.mean:.1f}", f"{column.low:.1f}-{column.high:.1f}" if column.videos >= MIN_VIDEOS else "-"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
