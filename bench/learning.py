"""Does GRPO improve the policy of the embedded default? Train it over seeds and variations, on the last run's data.

    python -m bench.learning --seeds 0 1 2                          the run in params.yaml, three times
    python -m bench.learning --seeds 0 --vary strict                a variation, from the same warm start
    python -m bench.learning --seeds 0 --vary shared_prompt repeated_prompt
    python -m bench.learning --seeds 0 --vary adamw                 a variation of the warm start

Writes `reports/bench/learning.json`: for each run a row with the median seconds of a GRPO step, VIUBench before and
after, and the paired gain with its interval; and the curves to `reports/bench/learning.png`. A run that has a row in
the file is not measured again. `make run` must have made the data.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.curves import Plot, write_plots
from bench.rows import write_rows
from videossr import config
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.errors import VideoSSRError
from videossr.evaluation import viubench
from videossr.evaluation.runner import EvaluateParams, evaluate
from videossr.frames.store import FrameStore
from videossr.models.checkpoint import load_policy, resolve_checkpoint
from videossr.records import ScoredReply
from videossr.storage.fingerprint import folder_fingerprint
from videossr.train.params import TrainParams
from videossr.train.stage import train

OUT = Path("reports/bench/learning.json")
WORK = Path("work/learning")
VARIATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "smooth": {"reward": "smooth", "reward_by_task": {}},
    "strict": {"reward": "strict", "reward_by_task": {}},
    # A hundred steps with the prompt computed once per group, and once per completion: equal curves, other times.
    "shared_prompt": {"grpo": {"steps": 100}},
    "repeated_prompt": {"shared_prefix": "off", "grpo": {"steps": 100}},
    "temperature_1": {"grpo": {"temperature": 1.0}},
    "constant_rate": {"grpo": {"lr_schedule": "constant"}},
    "400_steps": {"grpo": {"steps": 400}},
    "group_of_16": {"grpo": {"group_size": 16}},
    "refill": {"grpo": {"refill_rounds": 1}},
    # This one changes the warm start, so it has one of its own.
    "adamw": {"warmup": {"optimizer": "adamw", "learning_rate": 1e-3}},
}
SECTIONS = ("tiny_random", "warmup", "grpo")
EQUAL_CURVES = ("shared_prompt", "repeated_prompt")


def measure(name: str, seed: int, params: dict[str, Any]) -> dict[str, Any]:
    """Train one variation with one seed and evaluate it on VIUBench before and after; returns its row."""
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
        config.build(PretextParams, params["pretext"], "pretext").tasks,
    )
    policies = {"start": Path(resolve_checkpoint(folder / "start")), "policy": folder / "policy"}
    before, after = (evaluate_policy(path, folder / f"{name}.jsonl", params) for name, path in policies.items())
    settings = config.build(EvaluateParams, params["evaluate"], "evaluate")
    bootstrap = {"bootstrap_samples": settings.bootstrap_samples, "seed": settings.seed}
    return {
        "name": name,
        "seed": seed,
        "step_seconds": statistics.median(step_seconds) if step_seconds else None,  # None: trained by an earlier start
        "before": viubench.summarise(before, **bootstrap),
        "after": viubench.summarise(after, **bootstrap),
        "gain": viubench.gain(before, after, **bootstrap),
        "gain_without_counting": _gain_without_counting(before, after, **bootstrap),
        **_curves(json.loads((folder / "train.json").read_text())["grpo"]),
    }


def train_params(name: str, seed: int, section: dict[str, Any]) -> TrainParams:
    """The run's training parameters with one variation, which starts from the default's warm start if it can."""
    changes = VARIATIONS[name]
    sections = {key: {**section.get(key, {}), **changes.get(key, {})} for key in SECTIONS}
    mapping = {**section, **changes, **sections, "seed": seed}
    if name != "default" and not {"tiny_random", "warmup"} & set(changes):
        start = WORK / f"default-{seed}" / "start"
        if not start.exists():
            sys.exit(f"a variation starts from the default's warm start: measure 'default' with seed {seed} first")
        mapping["policy"] = str(start)
    return config.build(TrainParams, mapping, "train")


def _gain_without_counting(
    before: list[ScoredReply], after: list[ScoredReply], **bootstrap: int
) -> dict[str, float | list[float]]:
    """The gain over the seven other columns, in which no constant answer scores well."""
    earlier = {item.sample_id: item for item in before}
    unchanged = [earlier[item.sample_id] if item.task == "counting" else item for item in after]
    gain = viubench.gain(before, unchanged, **bootstrap)
    # Counting counts as unchanged, so the mean over all columns is smaller by their share, and so is its interval.
    scale = len(viubench.COLUMNS) / sum(task != "counting" for task, _ in viubench.COLUMNS.values())
    low, high = (scale * bound for bound in gain["ci95"])
    return {"overall": scale * gain["overall"], "ci95": [low, high]}


def _curves(steps: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [step[name] for step in steps] for name in ("loss", "reward")}


def write_curves(rows: list[dict[str, Any]]) -> None:
    """Plot the rewards of all runs of the first seed, and reward and loss of the two runs that must be equal."""
    runs = {row["name"]: row for row in rows if row["seed"] == rows[0]["seed"]}
    pair = {name: row for name, row in runs.items() if name in EQUAL_CURVES}
    rewards = {name: _smooth(row["reward"]) for name, row in runs.items() if name not in EQUAL_CURVES}
    plots = [Plot("reward, mean of 10 steps", "step", rewards)] if rewards else []
    for metric in ("reward", "loss") if pair else ():
        plots.append(Plot(f"{metric} of every step", "step", {name: row[metric] for name, row in pair.items()}))
    write_plots(OUT.with_suffix(".png"), plots)


def _smooth(values: list[float], window: int = 10) -> list[float]:
    """The mean of each value and up to `window - 1` values before it."""
    return [statistics.fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def evaluate_policy(folder: Path, out: Path, params: dict[str, Any]) -> list[ScoredReply]:
    """The policy's scored replies to VIUBench, written to `out`; a question with a reply there is not asked again."""
    tasks = config.build(PretextParams, params["pretext"], "pretext").tasks
    settings = config.build(EvaluateParams, params["evaluate"], "evaluate")
    samples, store = read_samples(Path("data/samples/viubench.parquet")), FrameStore(Path("data/frames"))
    policy, policy_id = load_policy(folder), folder_fingerprint(folder)
    return evaluate(policy, samples, store, tasks, out, batch_size=settings.batch_size, policy_id=policy_id)


def print_gains(rows: list[dict[str, Any]]) -> None:
    table = Table("run", "seed", "before", "after", "gain", "95 % interval", "s per step")
    for row in rows:
        low, high = row["gain"]["ci95"]
        table.add_row(
            row["name"],
            str(row["seed"]),
            f"{row['before']['overall']:.1f}",
            f"{row['after']['overall']:.1f}",
            f"{row['gain']['overall']:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            f"{row['step_seconds']:.2f}" if row["step_seconds"] else "",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vary", nargs="+", default=["default"], choices=list(VARIATIONS))
    arguments = parser.parse_args()
    params = config.load(Path("params.yaml"))
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    for name in arguments.vary:
        for seed in arguments.seeds:
            if not any((row["name"], row["seed"]) == (name, seed) for row in rows):
                rows.append(measure(name, seed, params))
                write_rows(OUT, rows)
    print_gains(rows)
    write_curves(rows)


if __name__ == "__main__":
    try:
        main()
    except VideoSSRError as error:
        sys.exit(str(error))
