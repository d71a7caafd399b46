"""Ask the champion the present VIUBench questions, and take it back where it fails.

It fails where the 95 % interval of the change of its score, from the questions that it was promoted on to the present
ones, lies below zero. The two sets of questions are of different videos, so the interval combines those of both scores
(the method of variance estimates recovery).
"""

import argparse
import math
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Failed

from flows import runtime
from flows.comparison import REPLIES_ARTIFACT
from flows.evaluate import evaluate_on_viubench
from flows.evidence import SAMPLES, header_of
from videossr import tracking
from videossr.dataset.samples import read_samples
from videossr.errors import PolicyError, VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.runner import EvaluateParams, read_scored_replies, samples_digest
from videossr.records import ScoredReply
from videossr.report.text import no_interval
from videossr.terminal import printable
from videossr.tracking import RegisteredVersion
from videossr.workspace import project_root


def recheck_champion(withdraw: bool = True) -> str:
    """Compare the champion's scores on the present and on its own questions; with `withdraw`, take it back if it fails.

    Returns the outcome as one sentence. Raises PolicyError where there is no champion, or its own replies are gone.
    """
    project = project_root()
    version = tracking.champion(project)
    if version is None:
        raise PolicyError("there is no champion to check: run the pipeline and promote its model (make demo)")
    stored = tracking.load_artifact(project, version, REPLIES_ARTIFACT)
    if stored is None:
        raise PolicyError(f"the replies of version {version.number} were removed from MLflow: promote a model again")
    if header_of(stored).get("samples") == samples_digest(read_samples(SAMPLES)):
        return f"version {version.number} was promoted on the present questions: add videos, and make others"
    has_failed, sentence = _compare(version, stored)
    if not has_failed or not withdraw:
        return sentence
    _, present = tracking.withdraw_champion(project, sentence)
    now = f"version {present.number} is the champion again" if present else "there is no champion now"
    return f"{sentence}: it was withdrawn; {now}"


def _compare(version: RegisteredVersion, stored: Path) -> tuple[bool, str]:
    """Whether the champion fails, and a sentence with the numbers."""
    replies = evaluate_on_viubench(tracking.checkpoint_folder(project_root(), version), f"version-{version.number}")
    before, now = _row(read_scored_replies(stored)), _row(replies)
    scores = (
        f"version {version.number} scores {now['overall']:.1f} on {now['n']} new questions, {before['overall']:.1f}"
    )
    scores = f"{scores}, {before['overall']:.1f} on those that it was promoted on"
    fewest = min(before["videos"], now["videos"])
    if fewest < MIN_VIDEOS:
        return False, f"{scores}; {no_interval(fewest)}"
    low, high = change_interval(before, now)
    verdict = "it fails" if high < 0 else "it does not fail"
    return high < 0, f"{scores} (95 % interval of the change {low:+.1f} to {high:+.1f}): {verdict}"


def _row(replies: list[ScoredReply]) -> viubench.Row:
    params = runtime.params_of("evaluate", EvaluateParams)
    return viubench.summarise(replies, bootstrap_samples=params.bootstrap_samples, seed=params.seed)


def change_interval(before: viubench.Row, now: viubench.Row) -> tuple[float, float]:
    """The 95 % interval of the change of `overall`, from two rows over different videos."""
    change = now["overall"] - before["overall"]
    (low_before, high_before), (low_now, high_now) = before["ci95"]["overall"], now["ci95"]["overall"]
    down = math.hypot(now["overall"] - low_now, high_before - before["overall"])
    up = math.hypot(high_now - now["overall"], before["overall"] - low_before)
    return change - down, change + up


@flow(name="recheck")
def recheck(withdraw: bool = True) -> Any:
    """Ask the champion the present VIUBench questions; with `withdraw`, take it back if it fails."""
    try:
        outcome = printable(recheck_champion(withdraw))
    except VideoSSRError as error:
        return Failed(message=printable(str(error)))
    get_run_logger().info(outcome)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.recheck", description=recheck_champion.__doc__)
    parser.add_argument("--keep", action="store_true", help="report only: a champion that fails stays champion")
    arguments = parser.parse_args()
    runtime.run_stage(lambda: print(printable(recheck_champion(not arguments.keep))), "recheck")


if __name__ == "__main__":
    main()
