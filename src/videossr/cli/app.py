"""The command line application: its commands by name, and the form of its error messages."""

import logging
import sys
from typing import NoReturn

import typer

from videossr.cli import data, drift, models, params, replies, services, ui
from videossr.cli.ablate import ablate
from videossr.cli.benchmarks import benchmarks
from videossr.cli.evaluate import evaluate_policy
from videossr.cli.viubench import viubench
from videossr.errors import VideoSSRError
from videossr.terminal import configure_output, printable
from videossr.workspace import configure_tools, project_root

app = typer.Typer(
    help="Post-train a video-language model on your own videos, without labels. `make demo` runs everything once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("use")(params.set_source)
app.command("recipe")(params.apply_recipe)
app.command("check")(params.check_params)
app.command("plan")(params.show_plan)
app.command("quarantine")(data.show_quarantine)
app.command("samples")(data.draw_samples)
app.command("audit")(data.audit_samples)
app.command("drift")(drift.show_drift)
app.command("export")(data.export_to_verl)
app.command("import")(data.import_from_verl)
app.add_typer(benchmarks, name="benchmarks")
app.add_typer(viubench, name="viubench")
app.command("rescore")(replies.rescore)
app.command("compare")(replies.compare)
app.command("browse")(replies.browse)
app.command("gallery")(replies.gallery)
app.command("evaluate")(evaluate_policy)
app.command("ablate")(ablate)
app.command("answer")(models.answer_question)
app.command("serve")(models.serve_champion)
app.command("results")(models.show_results)
app.command("lineage")(models.show_lineage)
app.command("rollback")(models.roll_back)
app.command("ui")(ui.serve_pages)
app.command("up")(services.start_services)
app.command("down")(services.stop_services)
app.command("status")(services.show_services)
app.command("unit")(services.print_unit)


def main() -> NoReturn:
    """Run a command. On an error that the user can fix, print one sentence and exit with code 1."""
    configure_tools(project_root())
    configure_output()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except VideoSSRError as error:
        sys.exit(printable(f"videossr: {error}"))
    except OSError as error:
        if error.filename is None:
            raise
        reason = f"'{error.filename}' cannot be used ({error.strerror}): name another, or make it accessible"
        sys.exit(printable(f"videossr: {reason}"))
    sys.exit(0)
