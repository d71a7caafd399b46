"""Promote: register the trained policy with its lineage, and crown it where it beats the present champion for certain.

Not a stage: it writes to the registry, not to the graph. A candidate becomes champion when it scores above the present
one on the same VIUBench questions and the 95 % interval of the difference, paired over videos, excludes zero. The first
candidate is held against the best answer that needs no eyes (the row `constant`). A champion that was measured on other
questions is asked today's first: scores of different questions are not compared.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows import runtime
from flows.server import running
from videossr import tracking
from videossr.errors import VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.runner import EvaluateParams, read_scored_replies
from videossr.records import ScoredReply
from videossr.tracking import Version
from videossr.workspace import project_root

RESULTS = Path("reports/viubench.json")
REPLIES = Path("reports/evaluate")
KEPT = "evaluate/after.jsonl"


def register() -> Version:
    """Register what lies in `models/policy`, with the files that it will be compared by; again is the same version."""
    project = project_root()
    origin = tracking.read_lineage(project)
    version = tracking.register(
        project, Path("models/policy"), origin, serving(), json.loads(RESULTS.read_text(encoding="utf-8"))
    )
    if tracking.load_artifact(project, version, KEPT) is None:
        tracking.save_artifact(project, version, [RESULTS, Path("reports/index.html")], "reports")
        tracking.save_artifact(project, version, [REPLIES / "after.jsonl"], "evaluate")
    return version


def serving() -> dict[str, Any]:
    """How the registered model reads videos: as the frame store does, as many frames as the puzzles showed."""
    shown = runtime.section("pretext").get("grounding", {}).get("num_frames")
    frames = dict(runtime.section("frames"))
    return {**frames, "num_frames": shown} if shown else frames


def compare(version: Version) -> tuple[bool, str]:
    """Whether a version should be champion, and why, in a sentence."""
    project = project_root()
    present = tracking.champion(project)
    if present == version:
        return False, f"version {version.number} is the champion already"
    after = read_scored_replies(REPLIES / "after.jsonl")
    if present is None:
        other, name = read_scored_replies(REPLIES / "constant.jsonl"), "the best answer that needs no eyes"
    else:
        other, name = _replies_of(present), f"the champion, version {present.number}"
    params = runtime.params_of("evaluate", EvaluateParams)
    gained = viubench.gain(other, after, bootstrap_samples=params.bootstrap_samples, seed=params.seed)
    low, high = gained["ci95"]
    better = low > 0
    measured = f"{gained['overall']:+.1f} points against {name}, 95 % interval {low:+.1f} to {high:+.1f}"
    verdict = "is better for certain" if better else "is not better for certain"
    return better, f"version {version.number} {verdict}: {measured}"


def _replies_of(version: Version) -> list[ScoredReply]:
    project = project_root()
    stored = tracking.load_artifact(project, version, KEPT)
    if stored is not None and _questions(stored) == _questions(REPLIES / "after.jsonl"):
        return read_scored_replies(stored)
    from flows.evaluate import evaluate_on_viubench

    return evaluate_on_viubench(tracking.checkpoint_folder(project, version), f"version-{version.number}")


def _questions(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return str(json.loads(file.readline())["header"]["samples"])


def decide() -> str:
    """Register, compare, and crown where the comparison allows it; returns what happened in a sentence."""
    version = register()
    better, why = compare(version)
    if better:
        tracking.set_champion(project_root(), version, why)
        return f"{why}; it is the champion now"
    return why


def approve() -> str:
    """As `decide`, but a person has the last word: the flow run waits for the answer in the Prefect UI."""
    version = register()
    better, why = compare(version)
    if not better:
        return why
    asked = Approval.with_initial_data(description=f"Make it the champion? {why}", crown=False)
    answer = pause_flow_run(wait_for_input=asked, timeout=24 * 3600, poll_interval=5)
    if not answer.crown:
        return f"{why}; it was not approved"
    tracking.set_champion(project_root(), version, f"{why}; approved: {answer.reason}")
    return f"{why}; it was approved and is the champion now"


class Approval(RunInput):
    """What the person who approves is asked."""

    crown: bool = False
    reason: str = ""


@flow(name="promote")
def promote(approval: bool = False) -> Any:
    """Register the model and crown it where it is better for certain; with `approval`, after a person agreed."""
    try:
        verdict = approve() if approval else decide()
    except VideoSSRError as error:
        return Failed(message=str(error))
    get_run_logger().info(verdict)
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.promote", description=promote.__doc__)
    parser.add_argument("--approve", action="store_true", help="wait for a person's approval in the Prefect UI")
    asked = parser.parse_args()
    if not asked.approve:
        runtime.run_stage(lambda: print(decide()), "promote")
        return
    url = os.environ.get("PREFECT_API_URL") or running()
    if url is None:
        sys.exit("approval is given in the Prefect UI and needs its server: start it first (make prefect)")
    with temporary_settings({PREFECT_API_URL: url}):
        state: Any = promote(approval=True, return_state=True)
    if not state.is_completed():
        sys.exit(str(state.message))


if __name__ == "__main__":
    main()
