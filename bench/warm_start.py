"""Which choices of the warm start pay? Each is changed alone, over seeds, in the same CPU-seconds.

    OMP_NUM_THREADS=1 python -m bench.warm_start --seeds 0 1 2                  the run in params.yaml, and all changes
    OMP_NUM_THREADS=1 python -m bench.warm_start --seeds 0 1 2 --vary adamw     one change

A change that makes a step cheaper gets more steps, one that makes it dearer fewer: before the first seed some steps of
each phase are timed, and the steps of the phases that show videos are scaled. Writes `reports/bench/warm_start.json`:
for each run its steps, the CPU-seconds of the warm start (None where an earlier start did a part of it), VIUBench, and
the difference from the run in params.yaml of the same seed, paired over videos. A run that has a row in the file is not
measured again. `make run` must have made the data. `--page` writes the table of `docs/reproduction.md` from
`docs/measured/warm_start.json`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.learning import evaluate_policy
from bench.rows import write_rows
from bench.scale import with_table
from videossr import config
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.errors import VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.runner import EvaluateParams
from videossr.frames.store import FrameStore
from videossr.models.policy import render_prompt
from videossr.pretext import TASKS
from videossr.records import ScoredReply
from videossr.storage.atomic import write_text
from videossr.train.params import TrainParams
from videossr.train.run_keys import start_key
from videossr.train.start import frame_times_of, prepare_start

OUT = Path("reports/bench/warm_start.json")
MEASURED = Path("docs/measured/warm_start.json")
PAGE = Path("docs/reproduction.md")
WORK = Path("work/learning")  # shared with bench.learning: GRPO there starts from the warm starts made here
DEFAULT = "default"
_TIMED_STEPS, _ROUNDS = 6, 3


def _without_phase(index: int) -> Callable[[TrainParams], TrainParams]:
    def change(params: TrainParams) -> TrainParams:
        phases = params.warmup.phases
        return replace(params, warmup=replace(params.warmup, phases=phases[:index] + phases[index + 1 :]))

    return change


def _with_adamw(params: TrainParams) -> TrainParams:
    return replace(params, warmup=replace(params.warmup, optimizer="adamw", learning_rate=1e-3))


def _with_sizes(**sizes: int) -> Callable[[TrainParams], TrainParams]:
    return lambda params: replace(params, tiny_random=replace(params.tiny_random, **sizes))


# What a reader sees, and the change.
VARIATIONS: dict[str, tuple[str, Callable[[TrainParams], TrainParams]]] = {
    DEFAULT: ("the default", lambda params: params),
    "adamw": ("AdamW at 1e-3 in place of Muon", _with_adamw),
    "no_text": ("no phase of text alone", _without_phase(0)),
    "no_short": ("no phase of short puzzles", _without_phase(1)),
    "vocabulary_512": ("a tokenizer of 512 tokens", _with_sizes(vocabulary=512)),
    "larger_body": ("4 layers of width 128 in place of 3 of 96", _with_sizes(text_width=128, text_layers=4)),
}


class Runs:
    """Warm starts on the data of the last run."""

    def __init__(self) -> None:
        self._params = config.load(Path("params.yaml"))
        self._samples, self._store = read_samples(Path("data/samples/train.parquet")), FrameStore(Path("data/frames"))
        self._tasks = config.build(PretextParams, self._params["pretext"], "pretext").tasks
        settings = config.build(EvaluateParams, self._params["evaluate"], "evaluate")
        self._bootstrap = {"bootstrap_samples": settings.bootstrap_samples, "seed": settings.seed}

    def params(self, name: str, seed: int, steps: Sequence[int] | None = None) -> TrainParams:
        """The training parameters with one change, and with other `steps` of the phases where they are given."""
        _, change = VARIATIONS[name]
        params = change(config.build(TrainParams, {**self._params["train"], "seed": seed}, "train"))
        return params if steps is None else _with_steps(params, steps)

    def equal_steps(self, name: str) -> list[int]:
        """The steps of each phase with which a change costs as many CPU-seconds as the default."""
        params, default = self.params(name, 0), self.params(DEFAULT, 0)
        if name == DEFAULT:
            return [phase.steps for phase in params.warmup.phases]
        # A phase that is the same in both has one cost: the machine's other work does not pass for a difference.
        singles = list[TrainParams]()
        for single in (*_single_phases(default), *_single_phases(params)):
            if single not in singles:
                singles.append(single)
        rounds = [[self._seconds_per_step(single) for single in singles] for _ in range(_ROUNDS)]
        costs = [statistics.median(each) for each in zip(*rounds, strict=True)]
        ours, theirs = ([costs[singles.index(single)] for single in _single_phases(each)] for each in (params, default))
        budget = sum(phase.steps * cost for phase, cost in zip(default.warmup.phases, theirs, strict=True))
        return scaled_steps([phase.steps for phase in params.warmup.phases], _shows(params), ours, budget)

    def measure(self, name: str, seed: int, steps: Sequence[int]) -> dict[str, Any]:
        """Warm up, and evaluate on VIUBench; returns the row."""
        params, folder = self.params(name, seed, steps), WORK / f"{name}-{seed}"
        work = folder / "work" / start_key(params, self._samples)
        is_whole, before = not work.exists(), time.process_time()
        start = self._warm_up(params, work)
        cpu_seconds = time.process_time() - before
        scored = evaluate_policy(start, folder / "start.jsonl", self._params)
        row = {
            "name": name,
            "seed": seed,
            "steps": list(steps),
            "cpu_seconds": round(cpu_seconds, 1) if is_whole else None,
            "viubench": viubench.summarise(scored, **self._bootstrap),
        }
        return row if name == DEFAULT else {**row, "difference": self._difference(seed, scored)}

    def _difference(self, seed: int, scored: list[ScoredReply]) -> dict[str, Any]:
        start = self._start(DEFAULT, seed)
        default = evaluate_policy(start, WORK / f"{DEFAULT}-{seed}" / "start.jsonl", self._params)
        return viubench.gain(default, scored, **self._bootstrap)

    def _start(self, name: str, seed: int) -> Path:
        params = self.params(name, seed)
        start = WORK / f"{name}-{seed}" / "work" / start_key(params, self._samples) / "start"
        if not start.exists():
            sys.exit(f"a change is compared with the default: measure '{DEFAULT}' with seed {seed} first")
        return start

    def _warm_up(self, params: TrainParams, work: Path) -> Path:
        def render(sample: Any) -> Any:
            return render_prompt(sample, TASKS[sample.task](), self._store)

        return prepare_start(params, self._samples, render, frame_times_of(self._store), self._tasks, work)[0]

    def _seconds_per_step(self, params: TrainParams) -> float:
        """CPU-seconds of a step of a run with one phase: what some steps more cost, without what a start costs once."""
        costs = []
        for steps in (_TIMED_STEPS, 3 * _TIMED_STEPS):
            with tempfile.TemporaryDirectory() as folder:
                before = time.process_time()
                self._warm_up(_with_steps(params, [steps]), Path(folder))
                costs.append(time.process_time() - before)
        return (costs[1] - costs[0]) / (2 * _TIMED_STEPS)


def scaled_steps(
    steps: Sequence[int], shows_videos: Sequence[bool], seconds_per_step: Sequence[float], budget: float
) -> list[int]:
    """The steps of each phase, those of the phases that show videos scaled alike, so that all take `budget` seconds."""
    costs = [count * seconds for count, seconds in zip(steps, seconds_per_step, strict=True)]
    scalable = sum(cost for cost, shows in zip(costs, shows_videos, strict=True) if shows)
    factor = (budget - (sum(costs) - scalable)) / scalable
    return [round(count * factor) if shows else count for count, shows in zip(steps, shows_videos, strict=True)]


def _shows(params: TrainParams) -> list[bool]:
    return [phase.shows_videos for phase in params.warmup.phases]


def _single_phases(params: TrainParams) -> list[TrainParams]:
    """Runs with one phase each, of one length."""
    warmups = [replace(params.warmup, phases=(replace(phase, steps=1),)) for phase in params.warmup.phases]
    return [replace(params, warmup=warmup) for warmup in warmups]


def _with_steps(params: TrainParams, steps: Sequence[int]) -> TrainParams:
    phases = (replace(phase, steps=count) for phase, count in zip(params.warmup.phases, steps, strict=True))
    return replace(params, warmup=replace(params.warmup, phases=tuple(phases)))


def summary_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table of the page: one line a change, the means over its seeds and each seed's difference."""
    lines = [
        "| change | steps | CPU-seconds | overall | jigsaw 6 | jigsaw 8 | shuffle | against the default, by seed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = list(rows)
    for name, (label, _) in VARIATIONS.items():
        if runs := [row for row in rows if row["name"] == name]:
            scores = [statistics.fmean(run["viubench"][column] for run in runs) for column in _COLUMNS]
            seconds = [run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None]
            cells = [
                label,
                " + ".join(map(str, runs[0]["steps"])),
                f"{statistics.fmean(seconds):.0f}" if seconds else "",
                *(f"{score:.1f}" for score in scores),
                "; ".join(_difference_text(run["difference"]) for run in runs if "difference" in run),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_COLUMNS = ("overall", "jigsaw_6", "jigsaw_8", "shuffle")


def _difference_text(difference: Mapping[str, Any]) -> str:
    low, high = difference["ci95"]
    return f"{difference['overall']:+.1f} ({low:.1f} to {high:.1f})"


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    table = Table("run", "seed", "steps", "CPU-s", "overall", "against the default")
    for row in rows:
        steps, seconds = " + ".join(map(str, row["steps"])), row["cpu_seconds"]
        difference = _difference_text(row["difference"]) if "difference" in row else ""
        score = f"{row['viubench']['overall']:.1f}"
        table.add_row(row["name"], str(row["seed"]), steps, f"{seconds:.0f}" if seconds else "", score, difference)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vary", nargs="+", default=list(VARIATIONS), choices=list(VARIATIONS))
    parser.add_argument("--page", action="store_true", help=f"write the table of {PAGE} and measure nothing")
    arguments = parser.parse_args()
    if arguments.page:
        table = summary_table(json.loads(MEASURED.read_text()))
        page = with_table(PAGE.read_text(encoding="utf-8"), "warm_start", table, "bench.warm_start --page", PAGE)
        write_text(PAGE, page)
        return
    runs, rows = Runs(), json.loads(OUT.read_text()) if OUT.exists() else []
    for name in arguments.vary:
        steps = next((row["steps"] for row in rows if row["name"] == name), None)
        for seed in arguments.seeds:
            if not any((row["name"], row["seed"]) == (name, seed) for row in rows):
                steps = steps or runs.equal_steps(name)
                rows.append(runs.measure(name, seed, steps))
                write_rows(OUT, rows)
                print_rows(rows[-1:])
    print_rows(rows)


if __name__ == "__main__":
    try:
        main()
    except VideoSSRError as error:
        sys.exit(str(error))
