"""Hold a new batch of videos against those that the champion was trained on; beyond the thresholds, ask or train.

Training is a run of the pipeline on `ingest.source`, which should hold the new videos by then.
"""

from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.states import Failed

from flows.pipeline import pipeline
from flows.promote import Approval
from videossr.drift import Drift, DriftParams, compare_batch
from videossr.errors import VideoSSRError
from videossr.pages import markdown_text
from videossr.services.definitions import page_address
from videossr.services.supervisor import running_ports
from videossr.terminal import printable
from videossr.workspace import project_root


@flow(name="drift")
def drift(
    source: str,
    then: Literal["report", "ask", "train"] = "report",
    alpha: float = 0.01,
    min_effect: float = 0.3,
    timeout_seconds: int = 24 * 3600,
) -> Any:
    """Compare the new videos in `source`. Where they have drifted: report it, ask a person whether to train, or train.

    No answer within `timeout_seconds` means no.
    """
    try:
        found = compare_batch(source, DriftParams(alpha, min_effect))
    except VideoSSRError as error:
        return Failed(message=printable(str(error)))
    _publish(found)
    sentence = printable(found.sentence)
    get_run_logger().info(sentence)
    if not found.drifted or then == "report" or (then == "ask" and not _is_approved(sentence, timeout_seconds)):
        return sentence
    training: Any = pipeline(return_state=True)
    if not training.is_completed():
        return Failed(message=f"{sentence}; the training that followed stopped: {training.message}")
    return f"{sentence}; the pipeline ran"


def finding_rows(found: Drift) -> list[dict[str, str]]:
    """The findings as a table of the run's page."""
    return [
        {
            "property": finding.name,
            "verdict": "drifted" if finding.drifted else "same",
            "reference": str(markdown_text(finding.before)),
            "new": str(markdown_text(finding.now)),
            "effect": f"{finding.effect:.2f}",
            "corrected p": f"{finding.corrected:.2g}",
        }
        for finding in found.findings
    ]


def _publish(found: Drift) -> None:
    create_table_artifact(finding_rows(found), key="drift", description=str(markdown_text(found.sentence)))
    ports = running_ports(project_root())
    if ports is not None:
        create_link_artifact(f"{page_address(ports)}/drift.html", key="drift-page", link_text="drift")


def _is_approved(sentence: str, timeout_seconds: int) -> bool:
    form = Approval.with_initial_data(description=f"Train on the present source? {sentence}", approve=False)
    try:
        return bool(pause_flow_run(wait_for_input=form, timeout=timeout_seconds, poll_interval=5).approve)
    except FlowPauseTimeout:
        return False
