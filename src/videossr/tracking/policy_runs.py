"""The runs in MLflow that trained, scored or registered a policy, found by the hash of its files."""

from dataclasses import dataclass
from pathlib import Path

from videossr.tracking.database import experiment_id, mlflow_client
from videossr.tracking.lineage import POLICY_TAG


@dataclass(frozen=True)
class PolicyRun:
    """A run of a stage: its id, its name, and the id of the pipeline's run above it, if there is one."""

    stage: str
    run_id: str
    name: str
    parent: str


def runs_of_policy(project: Path, fingerprint: str) -> list[PolicyRun]:
    """The runs of stages that recorded this policy, the latest first."""
    client = mlflow_client(project)
    found = client.search_runs(
        [experiment_id(project, client)],
        f"tags.`{POLICY_TAG}` = '{fingerprint}'",
        order_by=["attributes.start_time DESC"],
    )
    return [
        PolicyRun(
            stage=run.data.tags["dvc.stage"],
            run_id=run.info.run_id,
            name=run.info.run_name,
            parent=run.data.tags.get("mlflow.parentRunId", ""),
        )
        for run in found
    ]
