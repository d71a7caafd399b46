"""The report of the gate: `gate.json` for programs and `gate.html` for people. The page needs no network."""

import json
from pathlib import Path

from videossr.gates.results import GateResult
from videossr.pages import data_uri, render_template
from videossr.storage.atomic import write_text

MAX_ROWS_SHOWN = 20


def write_json(result: GateResult, path: Path) -> None:
    """Write the whole result, with the names of all failing rows."""
    write_text(path, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def write_html(result: GateResult, path: Path) -> None:
    """Write the page: the failures with their first rows, the warnings, all checks, and the statistics."""
    tables = list(dict.fromkeys(check.table for check in result.checks))
    pictures = {sample_id: data_uri(png, "image/png") for sample_id, png in result.pictures.items()}
    shown = MAX_ROWS_SHOWN
    page = render_template("gate.html", result=result, tables=tables, max_rows=shown, pictures=pictures)
    write_text(path, page)
