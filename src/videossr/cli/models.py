"""Commands about trained models: ask the champion, show the results."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from videossr.cli.ui import require_free_port
from videossr.errors import SourceError
from videossr.paths import RESULTS, require_file
from videossr.terminal import printable
from videossr.workspace import project_root


def answer_question(
    video: Annotated[list[Path], typer.Argument(help="one video or several")],
    question: Annotated[
        str, typer.Option("--question", "-q", help="the question; `<video>` marks the position of a video")
    ],
) -> None:
    """Ask the champion of the registry about video files."""
    import pandas as pd

    from videossr import tracking

    for path in video:
        if not path.is_file():
            raise SourceError(f"a video must be a file, '{path}' is not one: give the path of a video file")
    questions = pd.DataFrame({"question": [question], "videos": [[str(path) for path in video]]})
    print(printable(tracking.load_champion(project_root()).predict(questions)["answer"][0]))


def serve_champion(
    videos: Annotated[
        Path | None, typer.Option(help="the folder whose videos requests may name; without: none")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on 127.0.0.1")] = 8081,
) -> None:
    """Answer questions over HTTP with the champion, on this machine only: POST /invocations, in MLflow's format."""
    from videossr import tracking
    from videossr.tracking.video_access import FOLDER_VARIABLE

    if videos is not None:
        if not videos.is_dir():
            raise SourceError(f"the videos to serve must be a folder, '{videos}' is not one: name a folder")
        os.environ[FOLDER_VARIABLE] = str(videos.resolve())
    require_free_port(port, "serve")
    print(f"champion at http://127.0.0.1:{port}/invocations (Ctrl-C stops it)", flush=True)
    tracking.serve(project_root(), port)


def show_lineage(
    version: Annotated[str, typer.Argument(help="models:/videossr@champion, or the number of a version")] = "champion",
) -> None:
    """Show what a registered version was made from, and the commands that make it again."""
    from videossr import tracking

    origin = tracking.read_origin(project_root(), tracking.find_version(project_root(), version))
    print(f"version   {origin.version.number}, registered by MLflow run {origin.version.run_id}")
    print(f"commit    {origin.commit}")
    print(f"dvc.lock  sha256 {origin.lock}")
    for path, md5 in origin.hashes.items():
        print(printable(f"output    md5 {md5}  {path}"))
    for run in origin.runs:
        print(printable(f"run       {run.run_id}  {run.name}"))
    for line in (origin.params or "unknown: the run that registered it was removed from MLflow").splitlines():
        print(printable(f"params    {line}"))
    if origin.commit.endswith("-dirty"):
        print("the files differed from this commit when it was registered: the patch holds the difference")
    print("again:", printable(" && ".join(origin.rebuild())))


def roll_back(reason: Annotated[str, typer.Option(help="why; it is kept with the withdrawn version")]) -> None:
    """Take the champion back: the one before it answers again, and the withdrawn one is not promoted again."""
    from videossr import tracking

    withdrawn, present = tracking.withdraw_champion(project_root(), reason)
    now = f"version {present.number} is the champion again" if present else "there is no champion now"
    print(f"version {withdrawn.number} was withdrawn; {now}")


def show_results() -> None:
    """Show the latest VIUBench results, what the stages took, and the registered versions."""
    from videossr import tracking
    from videossr.cli.results_table import costs_table, gain_sentence, results_table

    results = json.loads(require_file(RESULTS).read_text(encoding="utf-8"))
    console = Console()
    console.print(results_table(results))
    console.print(gain_sentence(results))
    project = project_root()
    if costs := tracking.read_stage_costs(project):
        console.print(costs_table(costs))
    registry = tracking.registry_summary(project)
    if registry.num_versions:
        name = f"version {registry.champion}" if registry.champion else "none yet"
        console.print(f"registry: {registry.num_versions} version(s) of the model 'videossr', champion: {name}")
    console.print(
        f"\n  the report        file://{(project / 'reports' / 'index.html')}\n"
        f"  the gate          file://{(project / 'reports' / 'gate.html')}\n"
        "  runs and models   make mlflow    then http://127.0.0.1:5000\n"
        "  the pipeline      make prefect   then http://127.0.0.1:4200\n"
        "  your own videos   make demo SOURCE=some/folder\n"
        "  ask the champion  .venv/bin/videossr answer VIDEO -q 'QUESTION'",
        soft_wrap=True,
        highlight=False,
    )
