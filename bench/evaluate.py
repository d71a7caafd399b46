"""The evaluator against the same policy asked one question at a time, which is how published scripts evaluate.

    python -m bench.evaluate                     a minute and a half for each round on one core
    python -m bench.evaluate --rounds 1

Both sides run `answer_items` on the same questions about the same videos; the other side has batches of one question,
so that each question decodes and reads its video. A reply has at most four tokens.

Writes `reports/bench/evaluate.json`. `many_questions` and `few_questions` are items a second with 16 and with 3
questions a video, for the tiny random policy. `overhead` is the share of the time that is not spent in passes of the
model, of a random policy of 43 million parameters: a fiftieth of the smallest published one. `overhead_tiny` is the
same for the tiny random policy, whose passes take hardly longer than decoding. Seconds are those of the processor, so
that other work on the machine does not count: set OMP_NUM_THREADS=1. Ratios are medians over pairs of runs that
alternate.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
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
from videossr.models.qwen import QwenPolicy
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random

OUT = Path("reports/bench/evaluate.json")
SCENES = SyntheticParams(num_videos=4, min_seconds=8.0, max_seconds=8.0, size_pixels=192)
BUDGET = FrameBudget(num_frames=16)
REPLY_TOKENS = 4
TINY = TinyRandomParams()
LARGER = TinyRandomParams(text_width=512, text_layers=8, vision_width=384, vision_layers=6)


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


def compare(
    work: Path, rounds: int, scenes: SyntheticParams = SCENES, larger: TinyRandomParams = LARGER
) -> Iterator[Row]:
    """The rows: items a second of `TINY`, and the overhead of `larger` and of `TINY`."""
    make_benchmarks(work / "made", 0, scenes)
    items = load("videomme", work / "made" / "videomme", counts=False)
    found = find_videos(items, work / "made" / "videomme")
    tiny = _measured_policy(TINY, items, work / "tiny")
    many, few = (ask_each_video(items, questions) for questions in (16, 3))
    runs = alternate(*_sides(tiny, many, found, 16), rounds)
    yield _speed_row("many_questions", 16, *runs)
    yield _overhead_row("overhead_tiny", tiny, *runs)
    yield _speed_row("few_questions", 3, *alternate(*_sides(tiny, few, found, 3), rounds))
    policy = _measured_policy(larger, items, work / "larger")
    yield _overhead_row("overhead", policy, *alternate(*_sides(policy, many.first(2 * 16), found, 16), rounds))


def ask_each_video(items: Items, questions: int) -> Items:
    """`questions` questions about each video: its own, in the words of another each."""
    prompts = {name: replace(each, reply_tokens=REPLY_TOKENS) for name, each in items.benchmark.prompts.items()}
    first = {item.videos: item for item in items}.values()
    asked = [
        replace(each, id=f"{each.id}-{n}", question=f"{n}. {each.question}") for each in first for n in range(questions)
    ]
    return replace(items, items=tuple(asked), benchmark=replace(items.benchmark, prompts=prompts))


def _measured_policy(sizes: TinyRandomParams, items: Items, folder: Path) -> "_MeasuredPolicy":
    texts = [f"{item.question} {' '.join(item.options)}" for item in items]
    write_tiny_random(sizes, texts, 0, folder)
    policy = load_policy(folder)
    return _MeasuredPolicy(policy, _ModelTimer(policy.model))


def _sides(
    measured: "_MeasuredPolicy", items: Items, found: FoundVideos, batch_size: int
) -> tuple[Callable[[], Run], Callable[[], Run]]:
    """Evaluations with an empty store: in batches, and one question at a time."""
    return partial(_evaluate, measured, items, found, batch_size), partial(_evaluate, measured, items, found, 1)


def _evaluate(measured: "_MeasuredPolicy", items: Items, found: FoundVideos, batch_size: int) -> Run:
    settings: dict[str, Any] = {"budget": BUDGET, "protocol": "videossr", "policy_id": "random", "progress": False}
    timer = measured.timer
    with tempfile.TemporaryDirectory() as folder:
        timer.seconds, start = 0.0, time.process_time()
        answers = answer_items(measured.policy, items, found, Path(folder), batch_size=batch_size, **settings)
        seconds = time.process_time() - start
    assert len(answers.replies) == len(items)
    return Run(len(items) / seconds, 100 * (1 - timer.seconds / seconds))


def _overhead_row(name: str, measured: "_MeasuredPolicy", ours: list[Run], theirs: list[Run]) -> Row:
    mine, other = (median(run.overhead for run in side) for side in (ours, theirs))
    millions = measured.policy.model.num_parameters() / 1e6
    unit = f"percent of CPU-seconds outside passes of a model of {millions:.2g} million parameters"
    return Row(name, mine, other, other / mine, unit)


def _speed_row(name: str, questions: int, ours: list[Run], theirs: list[Run]) -> Row:
    ratios = [our.items_per_second / their.items_per_second for our, their in zip(ours, theirs, strict=True)]
    mine, other = (median(run.items_per_second for run in side) for side in (ours, theirs))
    spread = f"{len(ratios)} rounds, {min(ratios):.3g} to {max(ratios):.3g} times"
    unit = f"items per CPU-second, {questions} questions a video; {spread}"
    return Row(name, mine, other, median(ratios), unit)


@dataclass(frozen=True)
class _MeasuredPolicy:
    policy: QwenPolicy
    timer: "_ModelTimer"


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
