"""Killed at random moments and run again: is the result that of a run that nobody touched?

    python -m bench.survival              five minutes or so; `make run` must have made the data that training reads

The data path is killed five times while it takes in 200 videos, once for each number of workers, and its store compared
by hash; a short training (the run in params.yaml, its steps cut down) is killed three times at most, and its
curves compared step by step. Kills are kill -9 to the whole process group, at moments drawn from a seed. Writes
`reports/bench/survival.json` and the curves as `reports/bench/survival.png`.
"""

import argparse
import hashlib
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

from bench.curves import Panel, write_curves
from bench.pipelines.ours import ingest_and_store
from bench.rows import write
from videossr import config
from videossr.dataset.samples import read_samples
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.ingest.synthetic import SyntheticParams, make_videos
from videossr.train.params import TrainParams
from videossr.train.stage import train

OUT = Path("reports/bench/survival.json")
VIDEOS = SyntheticParams(num_videos=200, min_seconds=5.0, max_seconds=6.0)
STEPS = 12


def take_in(source: str, out: str, workers: int) -> None:
    """The data path in this process: what is killed."""
    ingest_and_store(Path(source), Path(out), FramesParams(max_pixels=4096, min_pixels=1024), workers)


def learn(folder: str) -> None:
    """A short training in this process, on the data of the last run: what is killed."""
    params = config.build(TrainParams, config.load(Path("params.yaml"))["train"], "train")
    short = replace(
        params,
        warmup=replace(params.warmup, steps=STEPS, checkpoint_every=4),
        grpo=replace(params.grpo, steps=STEPS, checkpoint_every=4),
    )
    samples, store = read_samples(Path("data/samples/train.parquet")), FrameStore(Path("data/frames"))
    places = [Path(folder) / name for name in ("start", "policy", "work", "train.json")]
    train(short, samples, store, *places, lambda metrics, step: None)


def killed(call: str, arguments: Sequence[str | int], moments: Sequence[float]) -> int:
    """Run `call` in a process, kill it that many seconds after each start, let the last one end; returns the kills."""
    kills = 0
    for moment in [*moments, None]:
        code = f"from bench.survival import {call}; {call}(*{list(arguments)!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            if process.wait(moment):
                sys.exit(f"{call} failed: run it by hand, {code}")
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    return kills


def hashed(folder: Path) -> str:
    """One SHA-256 of every name and every byte below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kill_the_data_path(work: Path, chance: random.Random) -> list[dict[str, Any]]:
    source = work / "source"
    make_videos(VIDEOS, 0, source, os.cpu_count() or 1)
    began = time.monotonic()
    killed("take_in", [str(source), str(work / "whole"), 2], [])
    seconds = time.monotonic() - began
    expected = hashed(work / "whole" / "frames")
    rows = []
    for workers in (1, 2, 4):
        out = work / f"workers-{workers}"
        moments = [chance.uniform(0.2, 0.6) * seconds for _ in range(5)]
        kills = killed("take_in", [str(source), str(out), workers], moments)
        told = hashed(out / "frames")
        rows.append({"name": "store", "workers": workers, "kills": kills, "sha256": told, "same": told == expected})
    return rows


def kill_the_training(work: Path, chance: random.Random) -> dict[str, Any]:
    began = time.monotonic()
    killed("learn", [str(work / "whole")], [])
    seconds = time.monotonic() - began
    kills = killed("learn", [str(work / "killed")], [chance.uniform(0.4, 0.8) * seconds for _ in range(3)])
    curves = {name: json.loads((work / name / "train.json").read_text()) for name in ("whole", "killed")}
    both = [[row["loss"] for phase in ("warmup", "grpo") for row in curve[phase]] for curve in curves.values()]
    return {
        "name": "training",
        "kills": kills,
        "same": hashed(work / "whole" / "policy") == hashed(work / "killed" / "policy"),
        "largest_difference_of_loss": max(abs(a - b) for a, b in zip(*both, strict=True)),
        "loss": dict(zip(curves, both, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    chance = random.Random(parser.parse_args().seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = kill_the_data_path(Path(folder), chance)
        training = kill_the_training(Path(folder) / "training", chance)
    write(OUT, [*rows, training])
    panel = Panel("loss of the warm start, then of GRPO", "step", training["loss"])
    write_curves(OUT.with_suffix(".png"), [panel])
    for row in [*rows, training]:
        print({name: value for name, value in row.items() if name != "loss"})


if __name__ == "__main__":
    main()
