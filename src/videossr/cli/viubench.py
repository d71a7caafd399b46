"""Commands about VIUBench as a data set of its own."""

from pathlib import Path
from typing import Annotated

import typer

from videossr.workspace import selected_workers

viubench = typer.Typer(help="Build VIUBench from your own videos.", no_args_is_help=True)


@viubench.callback()
def describe() -> None:
    """VIUBench: nine columns of questions that arithmetic answers, from any videos."""


@viubench.command("build")
def build(
    source: Annotated[str, typer.Argument(help="a folder of videos, its URL, a list, or a YAML of videos to make")],
    out: Annotated[Path, typer.Argument(help="the folder to write; a build that was killed continues there")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="manifest of a training run (data/manifest.parquet): its training videos are left out"),
    ] = None,
    per_column: Annotated[int, typer.Option(min=1, help="questions in each of the nine columns")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="another seed draws other questions")] = 0,
    licence: Annotated[str, typer.Option(help="the licence of the videos, for the card")] = "",
) -> None:
    """Build VIUBench: 2,700 questions about 48 frames of each video at up to 512x512, with card and hash."""
    from videossr.dataset.params import PretextParams
    from videossr.dataset.viubench_set import CARD, LICENCE, ViubenchParams, build_data_set

    params = ViubenchParams(source, seed, per_column, licence=licence or LICENCE, manifest=manifest)
    summary = build_data_set(params, PretextParams(), out, selected_workers())
    fewest, most = summary["questions_per_video"]
    print(
        f"{summary['questions']:,} questions about {summary['videos']:,} videos in {out}, {fewest:,} to {most:,} about "
        f"each; its card is {out / CARD}"
    )
