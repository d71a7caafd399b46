"""Whether a registered version is better than the champion: more points on VIUBench, no loss on a benchmark downstream.

Both are paired by question, with 95 % intervals over videos. A champion that answered other questions answers the
present ones first: scores of different questions are not comparable.
"""

from dataclasses import dataclass
from pathlib import Path

from flows import runtime
from flows.evidence import DOWNSTREAM, REPLIES, header_of
from videossr import tracking
from videossr.evaluation import viubench
from videossr.evaluation.benchmarks import Items
from videossr.evaluation.benchmarks.scoring import Replies
from videossr.evaluation.downstream import read_answers
from videossr.evaluation.downstream.comparison import compare as compare_replies
from videossr.evaluation.downstream.params import DownstreamParams
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.runner import EvaluateParams, read_scored_replies
from videossr.records import ScoredReply
from videossr.report.text import no_interval
from videossr.tracking import RegisteredVersion
from videossr.workspace import project_root

REPLIES_ARTIFACT = "evaluate/after.jsonl"
DOWNSTREAM_ARTIFACT = "downstream"


@dataclass(frozen=True)
class Verdict:
    """Whether a version is better, and a sentence with the numbers."""

    is_better: bool
    reason: str


def compare(version: RegisteredVersion) -> Verdict:
    """Compare a version, which is the policy in `models/policy`, with the champion or, without one, with guesses."""
    project = project_root()
    present = tracking.champion(project)
    if present == version:
        return Verdict(False, f"version {version.number} is the champion already")
    if withdrawn := tracking.withdrawn_because(project, version):
        return Verdict(False, f"version {version.number} was withdrawn and stays registered only: {withdrawn}")
    verdict = _compare_on_viubench(version, present)
    losses = downstream_losses(present) if verdict.is_better else []
    if losses:
        return Verdict(False, f"{verdict.reason}, but {'; '.join(losses)}: it is registered, not promoted")
    return verdict


def _compare_on_viubench(version: RegisteredVersion, present: RegisteredVersion | None) -> Verdict:
    if present is None:
        baseline, name = read_scored_replies(REPLIES / "constant.jsonl"), "the best constant answer"
    else:
        baseline, name = viubench_replies(present), f"the champion, version {present.number}"
    params = runtime.params_of("evaluate", EvaluateParams)
    candidate = read_scored_replies(REPLIES / "after.jsonl")
    gain = viubench.gain(baseline, candidate, bootstrap_samples=params.bootstrap_samples, seed=params.seed)
    points = f"{gain['overall']:+.1f} points against {name}"
    if gain["videos"] < MIN_VIDEOS:
        reason = f"version {version.number} is registered, not promoted: {points}; {no_interval(gain['videos'])}"
        return Verdict(False, reason)
    low, high = gain["ci95"]
    points = f"{points}, 95 % interval {low:+.1f} to {high:+.1f}"
    verdict = "is significantly better" if low > 0 else "is not significantly better"
    return Verdict(low > 0, f"version {version.number} {verdict}: {points}")


def viubench_replies(version: RegisteredVersion) -> list[ScoredReply]:
    """The scored replies of a version to the present VIUBench questions, stored or evaluated now."""
    project = project_root()
    stored = tracking.load_artifact(project, version, REPLIES_ARTIFACT)
    if stored is not None and header_of(stored)["samples"] == header_of(REPLIES / "after.jsonl")["samples"]:
        return read_scored_replies(stored)
    from flows.evaluate import evaluate_on_viubench

    return evaluate_on_viubench(tracking.checkpoint_folder(project, version), f"version-{version.number}")


def downstream_losses(present: RegisteredVersion | None) -> list[str]:
    """A sentence for each guarded benchmark on which the policy in `models/policy` scores significantly lower.

    It is compared with the champion `present`, or with the policy before training where there is none.
    """
    params = runtime.params_of("downstream", DownstreamParams)
    if not params.guarded or "after" not in params.policies:
        return []
    from flows.downstream import load_items

    benchmarks = {key: load_items(key, params) for key in params.guarded}
    earlier, name = _earlier_replies(present, benchmarks, params)
    options = {"num_resamples": params.bootstrap_samples, "seed": params.seed}
    losses = []
    for key, replies in earlier.items():
        items = benchmarks[key].first(params.limit)
        after = read_answers(DOWNSTREAM / "after" / f"{key}.jsonl").for_scoring
        difference = compare_replies(items, replies, after, **options)
        number = difference.differences[difference.metric]
        if number.high < 0:
            interval = f"95 % interval {number.low:+.1f} to {number.high:+.1f}"
            title = items.benchmark.title
            losses.append(f"it loses on {title}: {number.mean:+.1f} points against {name}, {interval}")
    return losses


def _earlier_replies(
    present: RegisteredVersion | None, benchmarks: dict[str, Items], params: DownstreamParams
) -> tuple[dict[str, Replies], str]:
    """The replies to compare with, by benchmark, and whose they are."""
    if present is None:
        stored = {key: DOWNSTREAM / "before" / f"{key}.jsonl" for key in benchmarks if "before" in params.policies}
        return {key: read_answers(path).for_scoring for key, path in stored.items()}, "the policy before training"
    replies: dict[str, Replies] = {}
    for key in benchmarks:
        path = tracking.load_artifact(project_root(), present, f"{DOWNSTREAM_ARTIFACT}/{key}.jsonl")
        if path is not None and _is_of_same_questions(path, DOWNSTREAM / "after" / f"{key}.jsonl"):
            replies[key] = read_answers(path).for_scoring
    others = {key: items for key, items in benchmarks.items() if key not in replies}
    if others:
        from flows.downstream import WORK, ask

        checkpoint = tracking.checkpoint_folder(project_root(), present)
        asked = ask(checkpoint, others, params, WORK / f"version-{present.number}")
        replies |= {key: answers.for_scoring for key, answers in asked}
    return replies, f"the champion, version {present.number}"


def _is_of_same_questions(path: Path, other: Path) -> bool:
    """Whether two files of replies answer the same questions, shown and asked in the same way, by whichever policy."""
    answers = [read_answers(each) for each in (path, other)]
    one, two = ({**each.header, "policy": ""} for each in answers)
    asked = [each.replies.keys() | each.errors.keys() for each in answers]
    return one == two and asked[0] == asked[1]
