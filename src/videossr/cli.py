"""The command `videossr`: what a person does beside `make demo` and the stages."""

import json
import logging
import os
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from videossr.errors import ConfigError, GateError, SourceError, VideoSSRError
from videossr.records import RejectedFile, Sample
from videossr.storage.atomic import atomic_file
from videossr.workspace import configure_tools, project_root

PARAMS = Path("params.yaml")
FRAMES = Path("data/frames")
RESULTS = Path("reports/viubench.json")
REJECTED, QUARANTINE = Path("data/rejected.parquet"), Path("data/quarantine.parquet")
ROWS = {
    "random": "blind: random guess",
    "constant": "blind: best constant",
    "before": "policy before GRPO",
    "after": "policy after GRPO",
}

app = typer.Typer(
    help="Post-train a video-language model on your own videos, without labels. `make demo` runs everything once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def use(
    source: Annotated[str, typer.Argument(help="a folder of videos, its URL, a list, or a YAML of videos to be made")],
) -> None:
    """Set the videos of the run: writes `ingest.source` in params.yaml, and nothing else there."""
    from ruamel.yaml import YAML

    named = _named(source)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    params = yaml.load(_existing(PARAMS).read_text(encoding="utf-8"))
    params["ingest"]["source"] = named
    with atomic_file(PARAMS) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    print(f"ingest.source is now {named}: `make run` takes it from there")


@app.command()
def recipe(path: Annotated[Path, typer.Argument(help="a whole run, for example recipes/videossr-8b.yaml")]) -> None:
    """Make a recipe the run: checks it, then copies it over params.yaml."""
    from videossr.recipe import load_recipe

    load_recipe(path)
    if path.resolve() == PARAMS.resolve():
        raise ConfigError(f"{path} is the run already: name another recipe")
    shutil.copyfile(path, PARAMS)
    print(f"params.yaml is now {path}: `make run` runs it, `git diff params.yaml` shows what changed")


@app.command()
def check(path: Annotated[Path, typer.Argument(help="the params file")] = PARAMS) -> None:
    """Check a params file: every section, every key, every range."""
    from videossr.recipe import load_recipe

    load_recipe(path)
    print(f"{path} is a run: all parameters are known and within their ranges")


@app.command()
def plan(
    path: Annotated[Path, typer.Argument(help="the params file, for example recipes/videossr-8b.yaml")] = PARAMS,
    completion_tokens: Annotated[int, typer.Option(min=1, help="tokens of a completion that are expected")] = 12,
    tflops: Annotated[
        list[float] | None, typer.Option(min=0.01, help="effective TFLOP/s a GPU; 100, 200 and 400 if absent")
    ] = None,
    measured: Annotated[Path | None, typer.Option(help="reports/bench/grpo_step.json, written on a GPU")] = None,
) -> None:
    """Tell what a run will cost: parameters, memory a GPU, tokens, operations, hours. Needs no GPU and no weights."""
    from videossr.plan import plan_run
    from videossr.plan.tables import hours_table, plan_tables, read_groups_per_second
    from videossr.recipe import load_recipe

    rates = read_groups_per_second(measured) if measured else {}
    run = load_recipe(path)
    planned = plan_run(run.frames, run.pretext, run.train, completion_tokens)
    console = Console()
    for table in [*plan_tables(planned), hours_table(planned, tflops or (100.0, 200.0, 400.0), rates)]:
        console.print(table)


@app.command()
def quarantine(
    rows: Annotated[int, typer.Option(min=0, help="how many files to name; 0 counts them only")] = 50,
    reason: Annotated[str, typer.Option(help="only these, for example corrupt")] = "",
) -> None:
    """Tell which files of the source are not used, and why: counts by reason, then the files."""
    from videossr.decode import REASONS

    refused, place = _refused()
    chosen = [item for item in refused if reason in ("", item.reason)]
    counts = Table(title=f"files that are not used: {len(refused)} ({place})")
    files = Table(title=f"{min(rows, len(chosen))} of {len(chosen)}")
    for table, names in ((counts, ("files", "reason", "which means")), (files, ("file", "reason", "detail"))):
        for name in names:
            table.add_column(name, overflow="fold", justify="right" if name == "files" else "left")
    for name, count in Counter(item.reason for item in refused).most_common():
        counts.add_row(str(count), name, REASONS.get(name, ""))
    for item in chosen[:rows]:
        files.add_row(Text(repr(item.path)[1:-1]), item.reason, Text(item.detail))
    console = Console()
    for table in [counts, files] if chosen and rows else [counts]:
        console.print(table)


@app.command()
def samples(
    task: Annotated[str, typer.Option(help="grounding, counting or jigsaw")] = "grounding",
    variant: Annotated[str, typer.Option(help="for example mirror, easy or 6; empty draws each there is")] = "",
    count: Annotated[int, typer.Option(min=1, help="puzzles of each variant")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="another seed draws other puzzles")] = 0,
    out: Annotated[Path, typer.Option(help="the picture to write")] = Path("samples.png"),
) -> None:
    """Draw puzzles from the stored videos: what a policy is shown, where the edit is, and the right answer."""
    from videossr.dataset.build import build_train
    from videossr.dataset.params import TrainSet
    from videossr.frames.store import FrameStore
    from videossr.pretext import TASKS
    from videossr.recipe import load_recipe
    from videossr.report import charts, draw_sheet

    run, store = load_recipe(PARAMS), FrameStore(FRAMES)
    if task not in TASKS:
        raise ConfigError(f"task must be one of {', '.join(TASKS)}, got '{task}'")
    kinds = [f"{task}/{name}" for name in ([variant] if variant else TASKS[task].variants)]
    wanted = TrainSet(count * len(kinds), dict.fromkeys(kinds, 1.0))
    drawn = sorted(
        build_train(replace(run.pretext, train=wanted, seed=seed), store.frame_times()), key=_kind_order(kinds)
    )
    sizes = run.report.frames_per_strip, run.report.thumbnail_pixels
    sheets = [draw_sheet(run.pretext.tasks[task], sample, store, {}, *sizes) for sample in drawn]
    out.write_bytes(charts.png(charts.sample_sheets(sheets)))
    for sample in drawn:
        print(f"{sample.task}/{sample.variant} of {sample.video_id}: {sample.answer}")
    print(f"{len(drawn)} puzzles drawn in {out}")


@app.command()
def audit(
    puzzles: Annotated[int, typer.Option(min=1, help="puzzles of each kind")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="another seed asks other puzzles")] = 0,
    frames: Annotated[Path, typer.Option(help="the stored frames, for example those of an import")] = FRAMES,
    reports: Annotated[Path, typer.Option(help="the folder for audit.json and audit.html")] = Path("reports"),
) -> None:
    """Let a probe without vision try the puzzles, on our frames and on frames written the published way."""
    from videossr.audit import AuditParams, run_audit, write_audit
    from videossr.frames.store import FrameStore
    from videossr.recipe import load_recipe

    store = FrameStore(frames)
    params = AuditParams(num_samples=puzzles, seed=seed)
    result = run_audit(load_recipe(PARAMS).pretext, store.frame_times(), store, params)
    page = write_audit(result, reports)
    if result["verdict"] == "leak":
        raise GateError(
            f"the answer can be told from the frames' statistics, {page} says where: chance alone looks like that in "
            "one audit of 200, so ask other puzzles with --seed before you look for the cause"
        )
    print(f"audit: {result['verdict']}, all of it in {page}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="the folder to write")],
    samples: Annotated[Path, typer.Option(help="which samples")] = Path("data/samples/train.parquet"),
) -> None:
    """Write samples as verl reads them: a parquet file, and every frame once, without loss."""
    from videossr.dataset.samples import read_samples
    from videossr.dataset.verl_export import export_samples
    from videossr.frames.store import FrameStore
    from videossr.models.encode_prompt import SYSTEM_PROMPT
    from videossr.recipe import load_recipe

    chosen, tasks = read_samples(_existing(samples)), load_recipe(PARAMS).pretext.tasks
    path = export_samples(chosen, FrameStore(FRAMES), tasks, out, samples.stem, SYSTEM_PROMPT)
    print(f"{len(chosen)} samples in {path}: `videossr import {path}` reads them back")


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="the .parquet file of an export, its frames beside it")],
    out: Annotated[Path, typer.Option(help="the folder to write samples and frames to")] = Path("data/imported"),
) -> None:
    """Read exported samples back: checked frame by frame, rendered alike, in this project's own form."""
    from videossr.dataset.samples import write_samples
    from videossr.dataset.verl_import import import_samples

    if out.exists():
        raise ConfigError(f"there is a {out} already: remove it, or choose another folder with --out")
    imported = import_samples(path, out / "frames")
    write_samples(out / "samples" / path.name, imported)
    print(f"{len(imported)} samples in {out / 'samples' / path.name}, their frames in {out / 'frames'}")


@app.command()
def answer(
    video: Annotated[list[Path], typer.Argument(help="one video or several")],
    question: Annotated[str, typer.Option("--question", "-q", help="what to ask; `<video>` marks where a video goes")],
) -> None:
    """Ask the champion of the registry about video files."""
    import pandas as pd

    from videossr import tracking

    for path in video:
        if not path.is_file():
            raise SourceError(f"a video must be a file, '{path}' is none")
    asked = pd.DataFrame({"question": [question], "videos": [[str(path) for path in video]]})
    print(tracking.load_champion(project_root()).predict(asked)["answer"][0])


@app.command()
def results() -> None:
    """Show VIUBench as it was last measured, and what is in the registry."""
    from videossr import tracking

    measured = json.loads(_existing(RESULTS).read_text(encoding="utf-8"))
    console = Console()
    console.print(_table(measured))
    console.print(gain_sentence(measured["gain"]))
    champion = tracking.champion(project_root())
    known = tracking.versions(project_root())
    if known:
        named = f"version {champion.number}" if champion else "none yet"
        console.print(f"registry: {len(known)} version(s) of the model 'videossr', champion: {named}")
    console.print(
        f"\n  the report        file://{(project_root() / 'reports' / 'index.html')}\n"
        f"  the gate          file://{(project_root() / 'reports' / 'gate.html')}\n"
        "  runs and models   make mlflow    then http://127.0.0.1:5000\n"
        "  the pipeline      make prefect   then http://127.0.0.1:4200\n"
        "  your own videos   make demo SOURCE=some/folder\n"
        "  ask the champion  .venv/bin/videossr answer VIDEO -q 'QUESTION'",
        soft_wrap=True,
        highlight=False,
    )


@app.command()
def ui(
    which: Annotated[str, typer.Argument(help="mlflow or prefect")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0 takes the usual one")] = 0,
) -> None:
    """Serve MLflow's or Prefect's pages of this project, on this machine only."""
    from videossr.tracking import database_uri

    usual = {"mlflow": 5000, "prefect": 4200}
    if which not in usual:
        raise ConfigError(f"there are pages of {' and '.join(usual)}, not of '{which}'")
    port = port or usual[which]
    _require_free(port, which)
    configure_tools(project_root())
    (project_root() / "mlruns").mkdir(exist_ok=True)
    commands = {
        "mlflow": ["-m", "mlflow", "server", "--backend-store-uri", database_uri(project_root()), "--workers", "1"],
        "prefect": ["-m", "prefect", "server", "start"],
    }
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["PREFECT_UI_API_URL"] = f"http://127.0.0.1:{port}/api"
    print(f"{which} at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, *commands[which], "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, command)


def gain_sentence(gain: dict[str, Any]) -> str:
    """What training gained on VIUBench, and whether that is more than chance, in plain words."""
    low, high = gain["ci95"]
    measured = (
        f"GRPO changed the overall score by {gain['overall']:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
    )
    if not gain["significant"]:
        return f"{measured}: NOT significant, the interval includes zero"
    return f"{measured}: significant" if gain["overall"] > 0 else f"{measured}: significantly WORSE"


def _table(measured: dict[str, Any]) -> Table:
    table = Table(title=f"VIUBench, percent [95 % interval], {measured['rows']['after']['n']} questions a row")
    table.add_column("")
    for name in ("overall", "counting", "grounding", "jigsaw"):
        table.add_column(name, justify="right")
    for name, label in ROWS.items():
        row = measured["rows"][name]
        low, high = row["ci95"]["overall"]
        groups = [_mean(row, columns) for columns in _groups(measured["columns"])]
        table.add_row(label, f"{row['overall']:.1f} [{low:.1f}, {high:.1f}]", *[f"{value:.1f}" for value in groups])
    return table


def _groups(columns: Sequence[str]) -> list[list[str]]:
    counting = [name for name in columns if name.startswith("counting")]
    jigsaw = [name for name in columns if name.startswith("jigsaw")]
    return [counting, [name for name in columns if name not in counting + jigsaw], jigsaw]


def _mean(row: dict[str, Any], columns: Sequence[str]) -> float:
    return float(sum(row[name] for name in columns) / len(columns))


def _kind_order(kinds: Sequence[str]) -> Callable[[Sample], int]:
    return lambda sample: kinds.index(sample.kind)


def _named(source: str) -> str:
    """How params.yaml names a source that is there: a URL as it is, a path from the project, or in full."""
    from videossr.ingest.remote import is_url, require_reachable

    if is_url(source):
        require_reachable(source)
        return source
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # ~somebody, of whom this machine has no home
        path = Path(source)
    if not source or not path.exists():
        raise SourceError(f"the source must exist, '{source}' does not: name a folder of videos")
    absolute = path.resolve()
    return str(absolute.relative_to(project_root()) if absolute.is_relative_to(project_root()) else absolute)


def _refused() -> tuple[list[RejectedFile], Path]:
    """The quarantine, and where it lies: what ingest refused alone, where frames has not run since."""
    from videossr.storage.quarantine import read_quarantine

    found = [path for path in (REJECTED, QUARANTINE) if path.exists()] or [_existing(QUARANTINE)]
    first, last = read_quarantine(found[0]), read_quarantine(found[-1])
    return (last, found[-1]) if set(first) <= set(last) else (first, found[0])


def _existing(path: Path) -> Path:
    if not path.exists():
        remedy = "run from the project root" if path == PARAMS else "run the pipeline first (make run)"
        raise ConfigError(f"there is no {path} here: {remedy}")
    return path


def _require_free(port: int, which: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used ({error.strerror}): choose another (videossr ui {which} --port N)"
            ) from None


def main() -> NoReturn:
    """Run the command; a person's mistake is one sentence and exit code 1."""
    configure_tools(project_root())
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except VideoSSRError as error:
        sys.exit(f"videossr: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(f"videossr: '{error.filename}' cannot be used ({error.strerror}): name another, or make it accessible")
    sys.exit(0)
