"""Does GRPO lift the embedded policy? The train stage again over seeds and variations, on the data of the last run.

    python -m bench.learning --seeds 0 1 2                          the run in params.yaml, three times
    python -m bench.learning --seeds 0 --vary strict                what else pays, from the same warm start
    python -m bench.learning --seeds 0 --vary shared_prompt repeated_prompt

Writes `reports/bench/learning.json`: a row for each run with the median seconds of a step of GRPO, VIUBench before and
after, and the paired gain with its interval; and its curves as `reports/bench/learning.png`. A row that stands is not
measured again; `make run` must have made the data.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.curves import Panel, write_curves
from bench.rows import write
from videossr import config
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.errors import VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.runner import EvaluateParams, evaluate
from videossr.frames.store import FrameStore
from videossr.models.checkpoint import load_policy
from videossr.records import ScoredReply
from videossr.storage.fingerprint import folder_fingerprint
from videossr.train.params import TrainParams
from videossr.train.stage import train

OUT = Path("reports/bench/learning.json")
WORK = Path("work/learning")
VARIATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "strict": {"reward": "strict"},
    # A hundred steps with the prompt computed once a group, and once a completion: the same course, other seconds.
    "shared_prompt": {"grpo": {"steps": 100}},
    "repeated_prompt": {"shared_prefix": "off", "grpo": {"steps": 100}},
    "temperature_1": {"grpo": {"temperature": 1.0}},
    "constant_rate": {"grpo": {"lr_schedule": "constant"}},
}
PAIR = ("shared_prompt", "repeated_prompt")


def measure(name: str, seed: int, params: dict[str, Any]) -> dict[str, Any]:
    """Train one variation with one seed and ask VIUBench before and after."""
    samples, store = read_samples(Path("data/samples/train.parquet")), FrameStore(Path("data/frames"))
    folder, step_seconds = WORK / f"{name}-{seed}", list[float]()
    train(
        train_params(name, seed, params["train"]),
        samples,
        store,
        folder / "start",
        folder / "policy",
        folder / "work",
        folder / "train.json",
        lambda metrics, step: step_seconds.append(metrics["step_seconds"]),
    )
    start = WORK / f"default-{seed}" / "start"
    before, after = (_ask(path, folder / f"{path.name}.jsonl", params) for path in (start, folder / "policy"))
    settings = config.build(EvaluateParams, params["evaluate"], "evaluate")
    bootstrap = {"bootstrap_samples": settings.bootstrap_samples, "seed": settings.seed}
    return {
        "name": name,
        "seed": seed,
        "step_seconds": statistics.median(step_seconds),
        "before": viubench.summarise(before, **bootstrap),
        "after": viubench.summarise(after, **bootstrap),
        "gain": viubench.gain(before, after, **bootstrap),
        **_curves(json.loads((folder / "train.json").read_text())["grpo"]),
    }


def train_params(name: str, seed: int, section: dict[str, Any]) -> TrainParams:
    """The run's training with one variation; all but the default begin where the default's warm start ended."""
    changed = VARIATIONS[name]
    mapping = {**section, **changed, "seed": seed, "grpo": {**section["grpo"], **changed.get("grpo", {})}}
    if name != "default":
        start = WORK / f"default-{seed}" / "start"
        if not start.exists():
            sys.exit(f"a variation starts from the default's warm start: measure 'default' with seed {seed} first")
        mapping["policy"] = str(start)
    return config.build(TrainParams, mapping, "train")


def _curves(steps: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [step[name] for step in steps] for name in ("loss", "reward")}


def draw(rows: list[dict[str, Any]]) -> None:
    """The rewards of all runs of the first seed, and what the two that must walk the same way were paid and lost."""
    first = {row["name"]: row for row in rows if row["seed"] == rows[0]["seed"]}
    pair = {name: row for name, row in first.items() if name in PAIR}
    rewards = {name: _smooth(row["reward"]) for name, row in first.items() if name not in PAIR}
    panels = [Panel("reward, mean of 10 steps", "step", rewards)] if rewards else []
    for told in ("reward", "loss") if pair else ():
        panels.append(Panel(f"{told} of every step", "step", {name: row[told] for name, row in pair.items()}))
    write_curves(OUT.with_suffix(".png"), panels)


def _smooth(values: list[float], window: int = 10) -> list[float]:
    return [statistics.fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def _ask(folder: Path, out: Path, params: dict[str, Any]) -> list[ScoredReply]:
    tasks = config.build(PretextParams, params["pretext"], "pretext").tasks
    settings = config.build(EvaluateParams, params["evaluate"], "evaluate")
    questions, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    policy, digest = load_policy(folder), folder_fingerprint(folder)
    return evaluate(policy, questions, store, tasks, out, batch_size=settings.batch_size, policy_id=digest)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("run", "seed", "before", "after", "gain", "95 % interval", "s a step")
    for row in rows:
        low, high = row["gain"]["ci95"]
        table.add_row(
            row["name"],
            str(row["seed"]),
            f"{row['before']['overall']:.1f}",
            f"{row['after']['overall']:.1f}",
            f"{row['gain']['overall']:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            f"{row['step_seconds']:.2f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vary", nargs="+", default=["default"], choices=list(VARIATIONS))
    asked = parser.parse_args()
    params = config.load(Path("params.yaml"))
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    for name in asked.vary:
        for seed in asked.seeds:
            if not any((row["name"], row["seed"]) == (name, seed) for row in rows):
                rows.append(measure(name, seed, params))
                write(OUT, rows)
    show(rows)
    draw(rows)


if __name__ == "__main__":
    try:
        main()
    except VideoSSRError as error:
        sys.exit(str(error))
