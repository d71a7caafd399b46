"""The gate's own report: `gate.json` for machines, `gate.html` for people, whole without a network."""

import json
from importlib import resources
from pathlib import Path

import jinja2

from videossr.gates.results import GateResult

MAX_ROWS_SHOWN = 20


def write_json(result: GateResult, path: Path) -> None:
    """Everything the gate found, with the names of all rows."""
    _write(path, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def write_html(result: GateResult, path: Path) -> None:
    """What was checked, what failed, which rows (the first of them), and the figures behind it."""
    template = resources.files("videossr").joinpath("templates/gate.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    tables = list(dict.fromkeys(check.table for check in result.checks))
    _write(path, environment.from_string(template).render(result=result, tables=tables, max_rows=MAX_ROWS_SHOWN))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
