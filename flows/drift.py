"""Hold a new batch of videos against those that the champion was trained on; beyond the thresholds, ask or train.

Training is a run of the deployment `pipeline/weekly` on `ingest.source`, which should hold the new videos by then.
"""

from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Failed

from flows.approval import ask
from videossr.drift import Drift, DriftParams, compare_batch
from videossr.errors import VideoSSRError
from videossr.pages import markdown_text
from videossr.services.definitions import page_address
from videossr.services.supervisor import running_ports
from videossr.terminal import printable
from videossr.workspace import project_root

TRAINING = "pipeline/weekly"


@flow(name="drift")
def drift(
    source: str,
    then: Literal["report", "ask", "train"] = "report",
    alpha: float = 0.01,
    min_effect: float = 0.3,
    timeout_seconds: int = 24 * 3600,
) -> Any:
    """Compare the new videos in `source`. Where they have drifted: report it, ask a person whether to train, or train.

    No answer within `timeout_seconds` means no. The training is queued: this run does not wait for it.
    """
    try:
        found = compare_batch(source, DriftParams(alpha, min_effect))
    except VideoSSRError as error:
        return Failed(message=printable(str(error)))
    _publish(found)
    sentence = printable(found.sentence)
    get_run_logger().info(sentence)
    if not found.drifted or then == "report":
        return sentence
    if then == "ask":
        is_approved, answer = ask(f"Train on the present source? {sentence}", timeout_seconds)
        sentence = f"{sentence}; {answer}"
        if not is_approved:
            return sentence
    return _start_training(sentence)


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


def _start_training(sentence: str) -> Any:
    """Queue a run of the training deployment; returns `sentence` with its name, or a failed state without one."""
    try:
        training: Any = run_deployment(TRAINING, timeout=0, as_subflow=False)
    except ObjectNotFound:
        return Failed(message=f"{sentence}; there is no deployment {TRAINING} to start: register it first (make up)")
    return f"{sentence}; the run {training.name} of {TRAINING} was queued"
