"""The evaluator against the same policy asked one question at a time, which is how published scripts evaluate.

    python -m bench.evaluate                     half a minute for each round on one core
    python -m bench.evaluate --rounds 1

Both sides run `answer_items` on the same questions about the same videos; the other side has batches of one question,
so that each question decodes and reads its video. The policy is the tiny random one, a reply has at most four tokens.
Writes `reports/bench/evaluate.json`: items a second with 16 and with 3 questions a video, and the share of the time
that is not spent in passes of the model. Seconds are those of the processor, so that other work on the machine does not
count: set OMP_NUM_THREADS=1. Ratios are medians over pairs of runs that alternate.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import alternate
from bench.rows import Row, print_rows, write_rows
from videossr.evaluation.benchmarks import FoundVideos, Items, find_videos, load
from videossr.evaluation.downstream import FrameBudget, answer_items
from videossr.evaluation.made_benchmarks import make_benchmarks
from videossr.ingest.synthetic import SyntheticParams
from videossr.models.checkpoint import load_policy
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random

OUT = Path("reports/bench/evaluate.json")
SCENES = SyntheticParams(num_videos=4, min_seconds=8.0, max_seconds=8.0, size_pixels=192)
BUDGET = FrameBudget(num_frames=16)
REPLY_TOKENS = 4


@dataclass
class Run:
    """Items per CPU-second of one evaluation, and the share of its time outside passes of the model, in percent."""

    items_per_second: float
    overhead: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        rows = list(compare(Path(name), rounds))
    write_rows(OUT, rows)
    print_rows(rows, "the evaluator and one question at a time")


def compare(work: Path, rounds: int, scenes: SyntheticParams = SCENES) -> Iterator[Row]:
    """The three rows: `many_questions`, `few_questions` and `overhead` (of the first)."""
    make_benchmarks(work / "made", 0, scenes)
    items = load("videomme", work / "made" / "videomme", counts=False)
    texts = [f"{item.question} {' '.join(item.options)}" for item in items]
    write_tiny_random(TinyRandomParams(), texts, 0, work / "policy")
    policy = load_policy(work / "policy")
    timer = _ModelTimer(policy.model)
    found = find_videos(items, work / "made" / "videomme")
    for name, questions in (("many_questions", 16), ("few_questions", 3)):
        asked = ask_each_video(items, questions)
        sides = [_measured(policy, timer, (asked, found), work / name, size) for size in (questions, 1)]
        ours, theirs = alternate(*sides, rounds)
        yield _speed_row(name, questions, ours, theirs)
        if name == "many_questions":
            shares = [median(run.overhead for run in side) for side in (ours, theirs)]
            yield Row("overhead", *shares, shares[1] / shares[0], "percent of CPU-seconds outside passes of the model")


def ask_each_video(items: Items, questions: int) -> Items:
    """`questions` questions about each video: its own, in the words of another each."""
    prompts = {name: replace(each, reply_tokens=REPLY_TOKENS) for name, each in items.benchmark.prompts.items()}
    first = {item.videos: item for item in items}.values()
    asked = [
        replace(each, id=f"{each.id}-{n}", question=f"{n}. {each.question}") for each in first for n in range(questions)
    ]
    return replace(items, items=tuple(asked), benchmark=replace(items.benchmark, prompts=prompts))


def _measured(policy: Any, timer: "_ModelTimer", made: tuple[Items, FoundVideos], out: Path, batch_size: int) -> Any:
    """A function that evaluates once with an empty store."""
    settings = {"budget": BUDGET, "protocol": "videossr", "policy_id": "tiny", "batch_size": batch_size}

    def run() -> Run:
        with tempfile.TemporaryDirectory() as folder:
            timer.seconds, start = 0.0, time.process_time()
            answers = answer_items(policy, *made, Path(folder), progress=False, **settings)
            seconds = time.process_time() - start
        assert len(answers.replies) == len(made[0])
        return Run(len(made[0]) / seconds, 100 * (1 - timer.seconds / seconds))

    return run


def _speed_row(name: str, questions: int, ours: list[Run], theirs: list[Run]) -> Row:
    ratios = [mine.items_per_second / other.items_per_second for mine, other in zip(ours, theirs, strict=True)]
    speeds = (median(run.items_per_second for run in side) for side in (ours, theirs))
    spread = f"{len(ratios)} rounds, {min(ratios):.3g} to {max(ratios):.3g} times"
    unit = f"items per CPU-second, {questions} questions a video; {spread}"
    return Row(name, *speeds, median(ratios), unit)


class _ModelTimer:
    """Adds up the seconds of the model's passes."""

    def __init__(self, model: Any) -> None:
        self.seconds = self._start = 0.0
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end)

    def _begin(self, *unused: Any) -> None:
        self._start = time.process_time()

    def _end(self, *unused: Any) -> None:
        self.seconds += time.process_time() - self._start


if __name__ == "__main__":
    main()
