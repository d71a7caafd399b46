"""The command that runs the paper's ablations."""

import subprocess
import sys
from typing import Annotated

import typer

from videossr.paths import PARAMS, require_file
from videossr.workspace import project_root


def ablate(
    ablation: Annotated[str, typer.Argument(help="table4, figure5 or figure6")],
    seeds: Annotated[list[int] | None, typer.Option(help="training seeds: --seeds 0 1 2")] = None,
    more_seeds: Annotated[list[int] | None, typer.Argument(metavar="[SEED]...", hidden=True)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="few videos, questions and steps, one seed")] = False,
) -> None:
    """Run an ablation of the paper: its variants as DVC experiments, then its table with ours beside the paper's.

    A command that was stopped continues: finished variants are not run again.
    """
    require_file(PARAMS)
    numbers = [*(seeds or []), *(more_seeds or [])] or ([0] if quick else [0, 1, 2])
    # A process of its own, because DVC belongs to the flows.
    command = [sys.executable, "-m", "flows.ablate", ablation, "--seeds", *map(str, numbers)]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], cwd=project_root(), check=False)
    raise typer.Exit(done.returncode)
