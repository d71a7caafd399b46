"""Commands about the benchmarks: which are here, and whether a local copy is the published one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from videossr.cli.narrow_table import narrow_table
from videossr.errors import BenchmarkError
from videossr.terminal import printable

FOLDER = Path("benchmarks")

benchmarks = typer.Typer(help="Show the benchmarks and what of them is here, or check a local copy of one.")


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
        lines = copy.state, f"licence: {entry.licence}{gated}", f"{entry.source}: {entry.obtain}"
        table.add_row(key, entry.paper_group, Text("\n".join(map(printable, lines))), end_section=True)
    Console().print(table)


@benchmarks.command("check")
def check_copy(
    name: Annotated[str, typer.Argument(help="the key of a benchmark, for example charadessta")],
    folder: Annotated[Path, typer.Argument(help="the folder that holds its annotations")],
    videos: Annotated[Path | None, typer.Option(help="the folder that holds its videos; without: not searched")] = None,
) -> None:
    """Check a local copy of a benchmark before a policy is asked: one sentence for each fault, none for known ones."""
    from videossr.evaluation.benchmarks import BENCHMARKS, copy_faults

    faults = copy_faults(name, folder, videos)
    for fault in faults:
        print(printable(fault))
    if faults:
        raise BenchmarkError(
            f"{folder} is not {BENCHMARKS[name].title} as published: it has {len(faults)} faults, above"
        )
    looked = "its annotations and videos" if videos else "its annotations (videos were not searched: --videos)"
    print(f"{folder} holds {BENCHMARKS[name].title} as published: {looked}")
