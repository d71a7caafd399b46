"""Promote: register the trained policy with its lineage, and make it the champion if it is significantly better.

This is not a stage of the DVC graph, because it writes to the model registry. A candidate becomes champion when it
scores above the present champion on the same VIUBench questions, the 95 % interval of the difference, paired over
videos, excludes zero, and it loses significantly on no benchmark of the stage downstream (`comparison`). The first
candidate is compared with the best constant answer, which ignores the video (the row `constant`).

Nothing is registered unless policy, samples, replies and results belong together and to `dvc.lock` (`evidence`).
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows import artifacts, runtime
from flows.approval import ask
from flows.comparison import DOWNSTREAM_ARTIFACT, REPLIES_ARTIFACT, compare
from flows.evidence import DOWNSTREAM, DOWNSTREAM_RESULTS, PAGE, POLICY, REPLIES, RESULTS, require_evidence
from flows.server import find_server
from videossr import tracking
from videossr.drift import PROFILE_ARTIFACT, measure_project
from videossr.errors import VideoSSRError
from videossr.ingest.manifest import read_manifest
from videossr.paths import FRAMES, MANIFEST, QUARANTINE
from videossr.recipe import load_recipe
from videossr.report.model_card import model_card
from videossr.storage.atomic import write_json
from videossr.storage.fingerprint import folder_fingerprint
from videossr.terminal import printable
from videossr.tracking import Lineage, RegisteredVersion
from videossr.workspace import project_root

log = logging.getLogger(__name__)


def register_candidate() -> RegisteredVersion:
    """Register `models/policy` with its results and replies. The same policy always gives the same version.

    Raises PolicyError, and registers nothing, where these are not the outputs of one run.
    """
    project = project_root()
    require_evidence(project)
    lineage, results = tracking.read_lineage(project), json.loads(RESULTS.read_text(encoding="utf-8"))
    card = write_model_card(lineage, results, json.loads(DOWNSTREAM_RESULTS.read_text(encoding="utf-8")))
    fingerprint = folder_fingerprint(POLICY)
    version = tracking.register_policy(project, POLICY, lineage, serving_frames(), results, card, fingerprint)
    if tracking.load_artifact(project, version, REPLIES_ARTIFACT) is None:
        tracking.save_artifact(project, version, [RESULTS, DOWNSTREAM_RESULTS, PAGE], "reports")
        replies = sorted((DOWNSTREAM / "after").glob("*.jsonl"))
        tracking.save_artifact(project, version, replies, DOWNSTREAM_ARTIFACT)
        _save_profile(version)
        tracking.save_artifact(project, version, [REPLIES / "after.jsonl"], "evaluate")  # last: the others are there
    return version


def _save_profile(version: RegisteredVersion) -> None:
    """Store the profile of the videos with the version: `drift` holds new ones against it."""
    if not (FRAMES.exists() and MANIFEST.exists() and QUARANTINE.exists()):
        log.warning("version %d has no profile of its videos for `videossr drift`: data/ is not here", version.number)
        return
    file = Path("work/drift") / Path(PROFILE_ARTIFACT).name
    write_json(file, measure_project(load_recipe(runtime.PARAMS)).as_json())
    tracking.save_artifact(project_root(), version, [file], str(Path(PROFILE_ARTIFACT).parent))


def write_model_card(lineage: Lineage, results: Mapping[str, Any], downstream: Mapping[str, Any]) -> str:
    """The model card of the policy in `models/policy`, as Markdown."""
    videos = read_manifest(MANIFEST) if MANIFEST.exists() else []
    return model_card(
        commit=lineage.commit,
        params=lineage.params,
        hashes=lineage.data,
        num_videos=Counter(video.split for video in videos),
        results=results,
        downstream=downstream,
    )


def serving_frames() -> dict[str, Any]:
    """The `frames` section for the registered model, with as many frames per video as a grounding prompt shows."""
    num_frames = runtime.section("pretext").get("grounding", {}).get("num_frames")
    frames = dict(runtime.section("frames"))
    return {**frames, "num_frames": num_frames} if num_frames else frames


def promote_if_better() -> str:
    """Register the policy, and make it the champion if it is better. Returns the outcome as one sentence."""
    version = register_candidate()
    verdict = compare(version)
    reason = verdict.reason
    if not verdict.is_better:
        return reason
    tracking.set_champion(project_root(), version, reason)
    return f"{reason}; it is the champion now"


def promote_if_approved(timeout_seconds: int) -> str:
    """As `promote_if_better`, but the flow run first waits for a person's approval in the Prefect UI.

    No answer within `timeout_seconds` means no.
    """
    version = register_candidate()
    verdict = compare(version)
    reason = verdict.reason
    if not verdict.is_better:
        return reason
    is_approved, answer = ask(f"Make it the champion? {reason}", timeout_seconds)
    outcome = f"{reason}; {answer}"
    if not is_approved:
        return outcome
    tracking.set_champion(project_root(), version, outcome)
    return f"{outcome}; it is the champion now"


@flow(name="promote")
def promote(approval: bool = False, timeout_seconds: int = 24 * 3600) -> Any:
    """Register the policy, and make it the champion if it is better.

    With `approval`, a person approves it first, within `timeout_seconds`.
    """
    artifacts.publish(project_root())
    try:
        outcome = promote_if_approved(timeout_seconds) if approval else promote_if_better()
    except VideoSSRError as error:
        return Failed(message=printable(str(error)))
    get_run_logger().info(outcome)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.promote", description=promote.__doc__)
    parser.add_argument("--approve", action="store_true", help="wait for a person's approval in the Prefect UI")
    arguments = parser.parse_args()
    if not arguments.approve:
        runtime.run_stage(lambda: print(promote_if_better()), "promote")
        return
    url = find_server()
    if url is None:
        sys.exit("approval is given in the Prefect UI and needs its server: start it first (make up)")
    with temporary_settings({PREFECT_API_URL: url}):
        state: Any = promote(approval=True, return_state=True)
    if not state.is_completed():
        sys.exit(str(state.message))


if __name__ == "__main__":
    main()
