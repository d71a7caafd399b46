"""Promote: register the trained policy with its lineage, and make it the champion if it is significantly better.

This is not a stage of the DVC graph, because it writes to the model registry. A candidate becomes champion when it
scores above the present champion on the same VIUBench questions and the 95 % interval of the difference, paired over
videos, excludes zero. The first candidate is compared with the best constant answer, which ignores the video (the row
`constant`). A champion that was evaluated on other questions is first evaluated on the current ones: scores of
different questions are not comparable.

Nothing is registered unless policy, samples, replies and results belong together and to `dvc.lock` (`evidence`).
"""

import argparse
import json
import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows import artifacts, runtime
from flows.evidence import PAGE, POLICY, REPLIES, RESULTS, header_of, require_evidence
from flows.server import find_server
from videossr import tracking
from videossr.errors import VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.runner import EvaluateParams, read_scored_replies
from videossr.records import ScoredReply
from videossr.report.text import no_interval
from videossr.terminal import printable
from videossr.tracking import RegisteredVersion
from videossr.workspace import project_root

REPLIES_ARTIFACT = "evaluate/after.jsonl"


def register_candidate() -> RegisteredVersion:
    """Register `models/policy` with its results and replies. The same policy always gives the same version.

    Raises PolicyError, and registers nothing, where these are not the outputs of one run.
    """
    project = project_root()
    require_evidence(project)
    lineage, results = tracking.read_lineage(project), json.loads(RESULTS.read_text(encoding="utf-8"))
    version = tracking.register_policy(project, POLICY, lineage, serving_frames(), results)
    if tracking.load_artifact(project, version, REPLIES_ARTIFACT) is None:
        tracking.save_artifact(project, version, [RESULTS, PAGE], "reports")
        tracking.save_artifact(project, version, [REPLIES / "after.jsonl"], "evaluate")
    return version


def serving_frames() -> dict[str, Any]:
    """The `frames` section for the registered model, with as many frames per video as a grounding prompt shows."""
    num_frames = runtime.section("pretext").get("grounding", {}).get("num_frames")
    frames = dict(runtime.section("frames"))
    return {**frames, "num_frames": num_frames} if num_frames else frames


def compare(version: RegisteredVersion) -> tuple[bool, str]:
    """Compare a version with the champion: whether it is significantly better, and a sentence with the numbers."""
    project = project_root()
    present = tracking.champion(project)
    if present == version:
        return False, f"version {version.number} is the champion already"
    if withdrawn := tracking.withdrawn_because(project, version):
        return False, f"version {version.number} was withdrawn and stays registered only: {withdrawn}"
    if present is None:
        baseline, name = read_scored_replies(REPLIES / "constant.jsonl"), "the best constant answer"
    else:
        baseline, name = _read_replies(present), f"the champion, version {present.number}"
    candidate = read_scored_replies(REPLIES / "after.jsonl")
    params = runtime.params_of("evaluate", EvaluateParams)
    gain = viubench.gain(baseline, candidate, bootstrap_samples=params.bootstrap_samples, seed=params.seed)
    points = f"{gain['overall']:+.1f} points against {name}"
    if gain["videos"] < MIN_VIDEOS:
        return False, f"version {version.number} is registered, not promoted: {points}; {no_interval(gain['videos'])}"
    low, high = gain["ci95"]
    is_better, points = low > 0, f"{points}, 95 % interval {low:+.1f} to {high:+.1f}"
    verdict = "is significantly better" if is_better else "is not significantly better"
    return is_better, f"version {version.number} {verdict}: {points}"


def _read_replies(version: RegisteredVersion) -> list[ScoredReply]:
    """The scored replies of a version to the present VIUBench questions, stored or evaluated now."""
    project = project_root()
    stored = tracking.load_artifact(project, version, REPLIES_ARTIFACT)
    if stored is not None and header_of(stored)["samples"] == header_of(REPLIES / "after.jsonl")["samples"]:
        return read_scored_replies(stored)
    from flows.evaluate import evaluate_on_viubench

    return evaluate_on_viubench(tracking.checkpoint_folder(project, version), f"version-{version.number}")


def promote_if_better() -> str:
    """Register the policy, and make it the champion if it is better. Returns the outcome as one sentence."""
    version = register_candidate()
    is_better, reason = compare(version)
    if not is_better:
        return reason
    tracking.set_champion(project_root(), version, reason)
    return f"{reason}; it is the champion now"


class Approval(RunInput):
    """The form that the Prefect UI shows to the person who approves."""

    approve: bool = False
    reason: str = ""


def promote_if_approved(timeout_seconds: int) -> str:
    """As `promote_if_better`, but the flow run first waits for a person's approval in the Prefect UI.

    No answer within `timeout_seconds` means no.
    """
    version = register_candidate()
    is_better, reason = compare(version)
    if not is_better:
        return reason
    form = Approval.with_initial_data(description=f"Make it the champion? {reason}", approve=False)
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=timeout_seconds, poll_interval=5)
    except FlowPauseTimeout:
        return f"{reason}; nobody approved it in time"
    if not answer.approve:
        return f"{reason}; it was not approved{f': {answer.reason}' if answer.reason else ''}"
    tracking.set_champion(project_root(), version, f"{reason}; approved: {answer.reason}")
    return f"{reason}; it was approved and is the champion now"


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
