"""Commands about VIUBench as a data set of its own."""

from pathlib import Path
from typing import Annotated

import typer

from videossr.paths import FRAMES, REPORTS, require_file
from videossr.workspace import selected_workers

viubench = typer.Typer(
    help="Build VIUBench from your own videos, and see what makes its questions hard.", no_args_is_help=True
)


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


@viubench.command("curves")
def draw_curves(
    replies: Annotated[
        list[Path] | None, typer.Argument(help="files of replies to VIUBench; without: those of the last run")
    ] = None,
    samples: Annotated[Path, typer.Option(help="the questions")] = Path("data/samples/viubench.parquet"),
    frames: Annotated[Path, typer.Option(help="their frame store")] = FRAMES,
    out: Annotated[Path, typer.Option(help="the folder for difficulty.json and difficulty.svg")] = REPORTS,
) -> None:
    """Draw the score by difficulty: length of the interval, strength of the edit, shapes on a frame, clips."""
    from videossr.dataset.samples import read_samples
    from videossr.evaluation.difficulty import difficulties, difficulty_curves, read_replies
    from videossr.evaluation.viubench import ROWS
    from videossr.frames.store import FrameStore
    from videossr.report.difficulty import write_difficulty

    questions = read_samples(require_file(samples))
    paths = replies or [REPORTS / "evaluate" / f"{name}.jsonl" for name in ROWS]
    scored = read_replies([require_file(path) for path in paths], questions)
    path = write_difficulty(difficulty_curves(difficulties(questions, FrameStore(frames)), scored), out)
    print(f"{len(questions):,} questions, {len(scored)} files of replies: {path}, numbers in difficulty.json beside it")
