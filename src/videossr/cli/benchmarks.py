"""Commands about the benchmarks: which are here, and whether a local copy is the published one."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from videossr.cli.narrow_table import narrow_table
from videossr.errors import BenchmarkError
from videossr.terminal import printable

if TYPE_CHECKING:
    from videossr.evaluation.benchmarks import Benchmark

FOLDER = Path("benchmarks")

benchmarks = typer.Typer(help="Show the benchmarks and what of them is here, fetch one, or check a local copy.")


@benchmarks.callback(invoke_without_command=True)
def list_benchmarks(
    context: typer.Context,
    annotations: Annotated[Path, typer.Option(help="the folder with a folder of annotations for each key")] = FOLDER,
    videos: Annotated[
        Path | None, typer.Option(help="the folder with a folder of videos for each key; without: that of annotations")
    ] = None,
) -> None:
    """List the 17 benchmarks: what of each is on this machine, its licence, and how to obtain it."""
    if context.invoked_subcommand is not None:
        return
    from tqdm import tqdm

    from videossr.evaluation.benchmarks import BENCHMARKS, examine_copy

    title = f"benchmarks in {annotations}/KEY, videos in {videos or annotations}/KEY"
    table = narrow_table(printable(title), ("key", "group", "state, licence, how to obtain"), ())
    for key, entry in tqdm(BENCHMARKS.items(), desc="benchmarks", unit="benchmark", leave=False):
        copy = examine_copy(key, annotations / key, (videos or annotations) / key)
        gated = " (gated)" if entry.gated else ""
        lines = copy.state, f"licence: {entry.licence}{gated}", f"{entry.source}: {entry.obtain}", *_revision(entry)
        table.add_row(key, entry.paper_group, Text("\n".join(map(printable, lines))), end_section=True)
    Console().print(table)


def _revision(entry: "Benchmark") -> tuple[str, ...]:
    if entry.family == "pretext":
        return ()
    return (f"revision: {entry.revision or 'not known, name one to fetch (--revision)'}",)


@benchmarks.command("check")
def check_copy(
    name: Annotated[str, typer.Argument(help="the key of a benchmark, for example charadessta")],
    folder: Annotated[Path, typer.Argument(help="the folder that holds its annotations")],
    videos: Annotated[Path | None, typer.Option(help="the folder that holds its videos; without: not searched")] = None,
) -> None:
    """Check a local copy of a benchmark before a policy is asked: one sentence for each fault, none for known ones."""
    _require_published(name, folder, videos)
    looked = "its annotations and videos" if videos else "its annotations (videos were not searched: --videos)"
    print(f"{folder} holds {_title(name)} as published: {looked}")


@benchmarks.command("fetch")
def fetch_copy(
    name: Annotated[str, typer.Argument(help="the key of a benchmark, for example charadessta")],
    folder: Annotated[Path, typer.Argument(help="the folder to write, for example benchmarks/charadessta")],
    revision: Annotated[
        str | None, typer.Option(help="a commit of the source, 40 digits; without: the pinned one, where one is known")
    ] = None,
) -> None:
    """Fetch the annotations of a benchmark from the Hub or GitHub at one commit, and check them. No video, no code."""
    from videossr.evaluation.benchmarks import benchmark_named
    from videossr.evaluation.benchmarks.fetching import fetch_annotations

    benchmark = benchmark_named(name)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of each of its retries twice
    commit = fetch_annotations(benchmark, folder, revision)
    print(printable(f"{folder} holds the annotations of {benchmark.source} at commit {commit}"))
    _require_published(name, folder, None)
    print(printable(f"they are {benchmark.title} as published; for the videos: {benchmark.obtain}"))


def _title(name: str) -> str:
    from videossr.evaluation.benchmarks import benchmark_named

    return benchmark_named(name).title


def _require_published(name: str, folder: Path, videos: Path | None) -> None:
    """Print every fault of a local copy. Raises BenchmarkError where there is one."""
    from videossr.evaluation.benchmarks import copy_faults

    faults = copy_faults(name, folder, videos)
    for fault in faults:
        print(printable(fault))
    if faults:
        raise BenchmarkError(f"{folder} is not {_title(name)} as published: it has {len(faults)} faults, above")
