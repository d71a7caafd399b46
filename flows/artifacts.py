"""What a run of the pipeline shows on its page in Prefect: the gate's verdict, scores, costs, pictures, and links.

An artifact is published only where the file behind it exists: a run that stops early shows what it reached.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from videossr import tracking
from videossr.cli.results_table import gain_sentence
from videossr.pages import markdown_text
from videossr.report.text import too_few
from videossr.services.definitions import Ports, page_address
from videossr.services.supervisor import running_ports

GATE, RESULTS = Path("reports/gate.json"), Path("reports/viubench.json")
PAGES = {"report": "index.html", "gate-page": "gate.html", "audit": "audit.html"}


def publish(project: Path, mlflow_run: str = "") -> None:
    """Publish the artifacts of the flow run that calls it, whose run in MLflow is `mlflow_run`, if it has one."""
    if (gate := _read(project / GATE)) is not None:
        create_markdown_artifact(gate_markdown(gate), key="gate", description="is the data fit to train on?")
    if (results := _read(project / RESULTS)) is not None:
        create_table_artifact(score_rows(results), key="viubench", description=gain_sentence(results))
    if costs := tracking.read_stage_costs(project):
        create_table_artifact([asdict(cost) for cost in costs], key="stages", description="the last run of each stage")
    ports = running_ports(project)
    if ports is not None:
        _publish_links(project, ports, mlflow_run)


def gate_markdown(gate: Mapping[str, Any]) -> str:
    """The verdict of the gate (`gate.json`), with its failures and warnings and the first rows of each."""
    lines = [f"**{'passed' if gate['success'] else 'failed'}**: {markdown_text(gate['summary'])}"]
    for title in ("failures", "warnings"):
        if gate[title]:
            lines.append(f"## {title.capitalize()}")
        for item in gate[title]:
            rows = ", ".join(item["rows"][:3])
            lines.append("- " + markdown_text(f"{item['table']}: {item['expectation']} ({item['detail']}): {rows}"))
    return "\n\n".join(lines)


def score_rows(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for each policy and baseline of `viubench.json`: overall with its 95 % interval, and each column."""
    has_intervals = not too_few(results)
    rows = []
    for name, row in results["rows"].items():
        low, high = row["ci95"]["overall"]
        interval = f" [{low:.1f}, {high:.1f}]" if has_intervals else ""
        scores = {column: f"{row[column]:.1f}" for column in results["columns"]}
        rows.append({"row": name, "overall": f"{row['overall']:.1f}{interval}", **scores})
    return rows


def _publish_links(project: Path, ports: Ports, mlflow_run: str) -> None:
    """Link to the pages that the page server of this project serves, and to MLflow."""
    for key, name in PAGES.items():
        if (project / "reports" / name).exists():
            create_link_artifact(f"{page_address(ports)}/{name}", key=key, link_text=key.replace("-", " "))
    for picture in sorted((project / "reports" / "figures").glob("samples_*.png")):
        address = f"{page_address(ports)}/figures/{picture.name}"
        create_image_artifact(address, key=picture.stem.replace("_", "-"), description="samples and their answers")
    page = tracking.run_page(project, mlflow_run) if mlflow_run else ""
    address = f"http://127.0.0.1:{ports.mlflow}/{page}"
    create_link_artifact(address, key="mlflow", link_text="runs, curves and models", description="this run in MLflow")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
