"""Commands about the data: rejected files, drawn samples, the audit, exchange with verl."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from videossr.errors import ConfigError, GateError
from videossr.paths import FRAMES, PARAMS, QUARANTINE, REJECTED, REPORTS, TRAIN_SAMPLES, require_file
from videossr.records import RejectedFile, kind_name
from videossr.storage.atomic import write_bytes
from videossr.terminal import printable


def show_quarantine(
    rows: Annotated[int, typer.Option(min=0, help="number of files to list; 0 shows only the counts")] = 50,
    reason: Annotated[str, typer.Option(help="list only files with this reason, for example corrupt")] = "",
) -> None:
    """Show which files of the source are rejected, and why: counts by reason, then the files."""
    rejected, path = _read_latest_quarantine()
    shown = [item for item in rejected if reason in ("", item.reason)]
    console = Console()
    console.print(_reason_table(rejected, f"files that are not used: {len(rejected)} ({path})"))
    if shown[:rows]:
        console.print(_file_table(shown[:rows], f"{min(rows, len(shown))} of {len(shown)}"))


def _read_latest_quarantine() -> tuple[list[RejectedFile], Path]:
    """The latest table of rejected files, and its path.

    The frames stage adds its own rejected files to those of ingest. Its table is older than the last ingest when it
    lacks one of ingest's files.
    """
    from videossr.storage.quarantine import read_quarantine

    paths = [path for path in (REJECTED, QUARANTINE) if path.exists()] or [require_file(QUARANTINE)]
    of_ingest, of_frames = read_quarantine(paths[0]), read_quarantine(paths[-1])
    return (of_frames, paths[-1]) if set(of_ingest) <= set(of_frames) else (of_ingest, paths[0])


def _reason_table(rejected: Iterable[RejectedFile], title: str) -> Table:
    from videossr.decode import REASONS

    table = Table(title=title)
    table.add_column("files", overflow="fold", justify="right")
    table.add_column("reason", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for reason, count in Counter(item.reason for item in rejected).most_common():
        table.add_row(str(count), Text(printable(reason)), REASONS.get(reason, ""))
    return table


def _file_table(rejected: Iterable[RejectedFile], title: str) -> Table:
    table = Table(title=title)
    for name in ("file", "reason", "detail"):
        table.add_column(name, overflow="fold")
    for item in rejected:
        table.add_row(*(Text(printable(value)) for value in (item.path, item.reason, item.detail)))
    return table


def draw_samples(
    task: Annotated[str, typer.Option(help="grounding, counting or jigsaw")] = "grounding",
    variant: Annotated[str, typer.Option(help="for example mirror, easy or 6; empty draws every variant")] = "",
    count: Annotated[int, typer.Option(min=1, help="samples of each variant")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="another seed draws other samples")] = 0,
    out: Annotated[Path, typer.Option(help="the picture to write")] = Path("samples.png"),
) -> None:
    """Draw samples from the stored videos: the frames that a policy sees, the edited ones, and the right answer."""
    from videossr.dataset.build import build_train
    from videossr.dataset.params import TrainSet
    from videossr.frames.store import FrameStore
    from videossr.pretext import TASKS
    from videossr.recipe import load_recipe
    from videossr.report import charts
    from videossr.report.contact_sheets import draw_sheet

    recipe, store = load_recipe(PARAMS), FrameStore(FRAMES)
    if task not in TASKS:
        raise ConfigError(f"task must be one of {', '.join(TASKS)}, got '{task}'")
    kinds = [kind_name(task, name) for name in ([variant] if variant else TASKS[task].variants)]
    train = TrainSet(count * len(kinds), dict.fromkeys(kinds, 1.0))
    built = build_train(replace(recipe.pretext, train=train, seed=seed), store.frame_times())
    samples = sorted(built, key=lambda sample: kinds.index(sample.kind))
    sizes = recipe.report.frames_per_strip, recipe.report.thumbnail_pixels
    sheets = [draw_sheet(recipe.pretext.tasks[task], sample, store, {}, *sizes) for sample in samples]
    write_bytes(out, charts.png(charts.sample_sheets(sheets)))
    for sample in samples:
        print(f"{sample.kind} of {sample.video_id}: {sample.answer}")
    print(f"{len(samples)} samples drawn in {out}")


def audit_samples(
    puzzles: Annotated[int, typer.Option(min=1, help="samples of each kind")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="another seed draws other samples")] = 0,
    frames: Annotated[Path, typer.Option(help="the stored frames, for example those of an import")] = FRAMES,
    reports: Annotated[Path, typer.Option(help="the folder for audit.json and audit.html")] = REPORTS,
) -> None:
    """Test whether a probe without vision can answer samples, on our frames and on frames as published."""
    from videossr.audit import AuditParams, run_audit, write_audit
    from videossr.frames.store import FrameStore
    from videossr.recipe import load_recipe

    store = FrameStore(frames)
    params = AuditParams(num_samples=puzzles, seed=seed)
    result = run_audit(load_recipe(PARAMS).pretext, store.frame_times(), store, params)
    page = write_audit(result, reports)
    if result["verdict"] == "leak":
        raise GateError(
            f"the statistics of the frames reveal the answer, see {page}: one audit in 200 finds this by chance, so "
            "audit other samples with --seed before you search for the cause"
        )
    print(f"audit: {result['verdict']}, details in {page}")


def export_to_verl(
    out: Annotated[Path, typer.Argument(help="the folder to write")],
    samples: Annotated[Path, typer.Option(help="the samples to export")] = TRAIN_SAMPLES,
) -> None:
    """Write samples in verl's format: a parquet file, and every frame once, without loss."""
    from videossr.dataset.samples import read_samples
    from videossr.dataset.verl_export import export_samples
    from videossr.dataset.verl_format import REWARD_FILE
    from videossr.frames.store import FrameStore
    from videossr.models.encode_prompt import SYSTEM_PROMPT
    from videossr.recipe import load_recipe

    exported, tasks = read_samples(require_file(samples)), load_recipe(PARAMS).pretext.tasks
    path = export_samples(exported, FrameStore(FRAMES), tasks, out, samples.stem, SYSTEM_PROMPT)
    print(f"{len(exported)} samples in {path}: `videossr import {path}` reads them back")
    print(f"verl: data.train_files={path} custom_reward_function.path={path.with_name(REWARD_FILE)}")


def import_from_verl(
    path: Annotated[Path, typer.Argument(help="the .parquet file of an export, its frames beside it")],
    out: Annotated[Path, typer.Option(help="the folder to write samples and frames to")] = Path("data/imported"),
) -> None:
    """Read exported samples back into this project's own format. Every frame is checked.

    Of the published rows, which hold no edits, those are read whose edit can be undone; the others are counted.
    """
    from videossr.dataset import verl_published
    from videossr.dataset.samples import write_samples
    from videossr.dataset.verl_import import holds_edits, import_samples

    if out.exists():
        raise ConfigError(
            f"{out} must not exist before an import, but it does: remove it, or choose another folder with --out"
        )
    if holds_edits(path):
        imported = import_samples(path, out / "frames")
    else:
        rows = verl_published.import_published(path, out / "frames")
        imported = rows.samples
        for reason, count in rows.left_out.most_common():
            print(f"left out {count} rows of {printable(reason)}")
        print(verl_published.LOST)
    write_samples(out / "samples" / path.name, imported)
    print(f"{len(imported)} samples in {out / 'samples' / path.name}, their frames in {out / 'frames'}")
