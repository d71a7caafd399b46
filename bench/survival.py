"""Kill a run at random times and run it again: is the result the same as without a kill?

    python -m bench.survival              about five minutes; `make run` must have made the data that training reads

The data path is killed five times while it ingests 200 videos, for each number of workers, and its store is compared by
hash. A short training (the run in params.yaml with fewer steps) is killed up to three times, and its curves are
compared step by step. A kill is `kill -9` to the whole process group, at a moment drawn from a seed. Writes
`reports/bench/survival.json`, and the curves to `reports/bench/survival.png`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.curves import Plot, write_plots
from bench.pipelines.ours import ingest_and_store
from bench.rows import write_rows
from videossr import config
from videossr.dataset.samples import read_samples
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.ingest.synthetic import SyntheticParams, make_videos
from videossr.storage.fingerprint import folder_fingerprint
from videossr.train.params import TrainParams, WarmupPhase
from videossr.train.stage import train

OUT = Path("reports/bench/survival.json")
VIDEOS = SyntheticParams(num_videos=200, min_seconds=5.0, max_seconds=6.0)
STEPS = 12


def build_store(source: str, out: str, workers: int) -> None:
    """Run the data path in this process, which is killed."""
    ingest_and_store(Path(source), Path(out), FramesParams(max_pixels=4096, min_pixels=1024), workers)


def train_shortly(folder: str) -> None:
    """Run a short training on the data of the last run, in this process, which is killed."""
    params = config.build(TrainParams, config.load(Path("params.yaml"))["train"], "train")
    short = replace(
        params,
        warmup=replace(params.warmup, phases=(WarmupPhase(STEPS),), checkpoint_every=4),
        grpo=replace(params.grpo, steps=STEPS, checkpoint_every=4),
    )
    samples, store = read_samples(Path("data/samples/train.parquet")), FrameStore(Path("data/frames"))
    outputs = [Path(folder) / name for name in ("start", "policy", "work", "train.json")]
    train(short, samples, store, *outputs, lambda metrics, step: None)


def run_with_kills(function: str, arguments: Sequence[str | int], delays: Sequence[float]) -> int:
    """Call a function of this module in a process until it ends, killing one process after each delay in seconds.

    Returns the number of kills: fewer than delays where a process ends before its delay.
    """
    num_kills = 0
    for delay in [*delays, None]:
        code = f"from bench.survival import {function}; {function}(*{list(arguments)!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            if process.wait(delay):
                sys.exit(f"{function} must end with code 0, got {process.returncode}: run it by hand, {code}")
            return num_kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            num_kills += 1
    return num_kills


def kill_data_path(work: Path, rng: random.Random) -> list[dict[str, Any]]:
    """One row for each number of workers: was the store the same after the kills?"""
    source = work / "source"
    make_videos(VIDEOS, 0, source, os.cpu_count() or 1)
    start = time.monotonic()
    run_with_kills("build_store", [str(source), str(work / "whole"), 2], [])
    seconds = time.monotonic() - start
    expected = folder_fingerprint(work / "whole" / "frames")
    rows = []
    for workers in (1, 2, 4):
        out = work / f"workers-{workers}"
        delays = [rng.uniform(0.2, 0.6) * seconds for _ in range(5)]
        kills = run_with_kills("build_store", [str(source), str(out), workers], delays)
        actual = folder_fingerprint(out / "frames")
        rows.append({"name": "store", "workers": workers, "kills": kills, "sha256": actual, "same": actual == expected})
    return rows


def kill_training(work: Path, rng: random.Random) -> dict[str, Any]:
    """One row: were weights and losses the same after the kills?"""
    start = time.monotonic()
    run_with_kills("train_shortly", [str(work / "whole")], [])
    seconds = time.monotonic() - start
    delays = [rng.uniform(0.4, 0.8) * seconds for _ in range(3)]
    kills = run_with_kills("train_shortly", [str(work / "killed")], delays)
    curves = {name: json.loads((work / name / "train.json").read_text()) for name in ("whole", "killed")}
    losses = {
        name: [step["loss"] for phase in ("warmup", "grpo") for step in curve[phase]] for name, curve in curves.items()
    }
    return {
        "name": "training",
        "kills": kills,
        "same": folder_fingerprint(work / "whole" / "policy") == folder_fingerprint(work / "killed" / "policy"),
        "largest_difference_of_loss": max(abs(whole - killed) for whole, killed in zip(*losses.values(), strict=True)),
        "loss": losses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    rng = random.Random(parser.parse_args().seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = kill_data_path(Path(folder), rng)
        training = kill_training(Path(folder) / "training", rng)
    write_rows(OUT, [*rows, training])
    write_plots(OUT.with_suffix(".png"), [Plot("loss of the warm start, then of GRPO", "step", training["loss"])])
    for row in [*rows, training]:
        print({name: value for name, value in row.items() if name != "loss"})


if __name__ == "__main__":
    main()
