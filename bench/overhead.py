"""What the tools around the work cost: seconds until a command answers, and seconds a stage beyond what it does.

    python -m bench.overhead        a few minutes; the project must have been run, for `videossr results`

A stage's cost is the difference between two graphs whose stages do nothing but record a run in MLflow, divided by the
difference of their lengths: what a run costs once is in both. Processor seconds are of all processes, the server of
Prefect among them; they depend little on what else the machine does. Writes `docs/measured/overhead.json` and the table
of `docs/performance.md`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.scale import with_table
from videossr.storage.atomic import write_json, write_text

ROOT = Path(__file__).parents[1]
OUT = Path("docs/measured/overhead.json")
PAGE = Path("docs/performance.md")
SHORT, LONG = 2, 8  # stages of the two graphs
_CLI = "from videossr.cli import main; main()"
_STAGE = """\
import sys
from pathlib import Path
from flows.runtime import run_stage
from videossr.tracking import stage_run

def body():
    with stage_run(Path.cwd(), sys.argv[1], {}):
        Path(sys.argv[1]).write_text("done")

run_stage(body, sys.argv[1])
"""


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the processors; `limit` bounds the clock on an idle machine."""

    what: str
    seconds: float
    cpu_seconds: float
    limit: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    for name in parser.parse_args().parts:
        for cost in PARTS[name]():
            print(f"{cost.what}: {cost.seconds:.1f} s, {cost.cpu_seconds:.1f} s of processors", flush=True)
            record(cost)
    print(f"written to {OUT} and {PAGE}")


def record(cost: Cost) -> None:
    """Write a row, in place of an older one of its name, to the file and to the page."""
    rows = {row["what"]: row for row in (json.loads(OUT.read_text()) if OUT.exists() else [])}
    rows[cost.what] = asdict(cost)
    write_json(OUT, list(rows.values()), indent=2)
    write_text(PAGE, with_rows(PAGE.read_text(encoding="utf-8"), list(rows.values())))


def measure_commands() -> Iterator[Cost]:
    """Until a command of this project answers."""
    for words in (("check",), ("plan", "--help"), ("results",)):
        yield Cost(f"`videossr {' '.join(words)}`", *best(ROOT, ["-c", _CLI, *words]), limit=2.0)


def measure_stages() -> Iterator[Cost]:
    """A stage that does nothing, and a run with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        short, long = (make_project(Path(folder, str(count)), count) for count in (SHORT, LONG))
        pipeline = ["-m", "flows.pipeline"]
        costs = {}
        for project in (short, long):
            run(project, pipeline)  # creates the databases
            costs[project] = best(project, [*pipeline, "--force"], rounds=2)
        pairs = zip(costs[long], costs[short], strict=True)
        seconds, cpu = (round((more - less) / (LONG - SHORT), 2) for more, less in pairs)
        yield Cost("a stage of a run of the pipeline", seconds, cpu, limit=4.0)
        yield Cost(f"a run with nothing to do, {LONG} stages", *best(long, pipeline, rounds=2), limit=15.0)


def measure_imports() -> Iterator[Cost]:
    """What a stage with a model imports besides."""
    for stage in ("pretext", "train", "evaluate"):
        command = ["-c", f"import flows.{stage}, gc; gc.freeze()"]
        yield Cost(f"the imports of `{stage}`", *best(ROOT, command, rounds=2), limit=None)


PARTS = {"commands": measure_commands, "stages": measure_stages, "imports": measure_imports}


def make_project(folder: Path, num_stages: int) -> Path:
    """A project whose graph is a chain of stages that record a run in MLflow and do nothing else."""
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    shutil.copytree(ROOT / "sources", folder / "sources")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "stage.py").write_text(_STAGE)
    stages: dict[str, Any] = {}
    for number in range(num_stages):
        deps = [f"stage{number - 1}"] if number else []
        stages[f"stage{number}"] = {"cmd": f"python stage.py stage{number}", "deps": deps, "outs": [f"stage{number}"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


def best(folder: Path, arguments: Sequence[str], rounds: int = 3) -> tuple[float, float]:
    """The least seconds on the clock and the least processor seconds of a Python command in `folder`."""
    seconds, cpu = zip(*(run(folder, arguments) for _ in range(rounds)), strict=True)
    return min(seconds), min(cpu)


def run(folder: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """Run a Python command, which must succeed; its seconds on the clock, and those of the processors."""
    dropped = ("PREFECT_HOME", "PREFECT_API_URL", "DVC_ROOT")
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    variables["VIDEOSSR_PREFECT_PORT"] = "9"  # not a server that runs on this machine
    before, started = _cpu_of_children(), time.monotonic()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed: {done.stderr.strip()}")
    return round(time.monotonic() - started, 2), round(_cpu_of_children() - before, 2)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def with_rows(page: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with its table replaced."""
    lines = ["| what | seconds | of processors | at most |", "|---|---|---|---|"]
    for row in rows:
        limit = "" if row["limit"] is None else f"{row['limit']:.0f}"
        lines.append(f"| {row['what']} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {limit} |")
    return with_table(page, "overhead", "\n".join(lines), "bench.overhead", PAGE)


if __name__ == "__main__":
    main()
