"""The gate's own report: `gate.json` for machines, `gate.html` for people, whole without a network."""

import json
from pathlib import Path

from videossr.gates.results import GateResult
from videossr.pages import render_template
from videossr.storage.atomic import write_text

MAX_ROWS_SHOWN = 20


def write_json(result: GateResult, path: Path) -> None:
    """Everything the gate found, with the names of all rows."""
    write_text(path, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def write_html(result: GateResult, path: Path) -> None:
    """What was checked, what failed, which rows (the first of them), and the figures behind it."""
    tables = list(dict.fromkeys(check.table for check in result.checks))
    write_text(path, render_template("gate.html", result=result, tables=tables, max_rows=MAX_ROWS_SHOWN))
