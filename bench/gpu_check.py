"""All tests and measurements that need a GPU, in one command of under ten minutes on one card.

    python -m bench.gpu_check              the tests marked gpu, then every measurement below
    python -m bench.gpu_check --only small --only lora_step
    python -m bench.gpu_check --dry-run    the same parts with a tiny policy, on a CPU

Needs no network: architectures are built from the sizes shipped for them, with random weights. Every part writes its
figures as soon as it ends, so that an interrupted check keeps what it measured: `reports/bench/gpu/<part>.json`, with
the card's name, and `profile_*.txt`. After a part that fails the next one runs.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForImageTextToText

from bench.gpu_step import (
    GROUPS_PER_FORWARD,
    REPEATED_PROMPTS,
    compare_gpu,
    gpu_label,
    peak_memory,
    random_subject,
)
from bench.rows import Row, print_rows
from bench.step_parts import FRAMES, SIDE, Work, forward_backward, roll_out, seconds_of, time_pairs
from bench.trainer_step import make_sample, make_step
from videossr.models.generation import generate_branches
from videossr.models.tiny_random import VISION_TOKENS, TinyRandomParams, train_tokenizer, write_processor
from videossr.plan.architecture import meta_model
from videossr.storage.atomic import write_json, write_text
from videossr.train.params import TINY_RANDOM, GrpoParams, LoraParams, TrainParams
from videossr.train.prefix import shared_logps

OUT = Path("reports/bench/gpu")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Two architectures, a prompt of `frames` frames of `side` x `side`, and the number of prompts of a step."""

    small: str = "Qwen/Qwen3-VL-2B-Instruct"
    large: str = "Qwen/Qwen3-VL-8B-Instruct"
    frames: int = FRAMES
    side: int = SIDE
    prompts_per_step: int = 16


DRY_RUN = Sizes(TINY_RANDOM, TINY_RANDOM, frames=8, side=64, prompts_per_step=2)


def run_tests(sizes: Sizes) -> Figures:
    """The tests marked gpu."""
    line = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    done = subprocess.run(line, capture_output=True, text=True)
    write_text(OUT / "tests.txt", done.stdout + done.stderr)
    summary = (done.stdout.strip().splitlines() or ["no output"])[-1]
    if done.returncode:
        raise RuntimeError(f"{summary}; see {OUT / 'tests.txt'}")
    return {"summary": summary}


def measure_passes(sizes: Sizes, name: str, repeats: int) -> Figures:
    """Rows `gpu_*` of an architecture: each pass with a shared prefix against the repeated prompt."""
    rows = compare_gpu(name, _config(name), repeats, sizes.frames, sizes.side)
    print_rows(rows, name)
    return {"rows": [dataclasses.asdict(row) for row in rows]}


def measure_lora_steps(sizes: Sizes) -> Figures:
    """Whole optimizer steps of the small policy with adapters, with a shared prefix and without."""
    with tempfile.TemporaryDirectory() as folder:
        steps = _lora_steps(sizes, Path(folder), ("on", "off"))
        peaks: list[float] = []
        measured = [lambda step=step: _with_peak(step, peaks) for step in steps]
        timing = time_pairs(*measured, repeats=1)
    unit = f"s a step of {sizes.prompts_per_step} prompts, all work included"
    row = Row(f"{gpu_label(sizes.small)}_lora_step", *timing, unit)
    print_rows([row], "One optimizer step")
    return {"rows": [dataclasses.asdict(row)], "peak_gib": {"shared": peaks[-2], "repeated": peaks[-1]}}


def profile_passes(sizes: Sizes, name: str) -> Figures:
    """Loss and rollout under torch's profiler: the 20 longest operations, and how often the host waits for the GPU."""
    subject = random_subject(_config(name), sizes.frames, sizes.side)
    passes = {
        "loss": lambda: forward_backward(subject, shared_logps),
        "rollout": lambda: roll_out(subject, generate_branches, 4),
    }
    for work in passes.values():  # not profiled: the first calls allocate
        work()
    return {part: _profile(work, OUT / f"profile_{gpu_label(name)}_{part}.txt") for part, work in passes.items()}


def profile_lora_step(sizes: Sizes) -> Figures:
    """One optimizer step of the small policy with adapters under torch's profiler."""
    with tempfile.TemporaryDirectory() as folder:
        (step,) = _lora_steps(sizes, Path(folder), ("on",))
        step()
        return _profile(step, OUT / "profile_lora_step.txt")


PARTS: dict[str, Callable[[Sizes], Figures]] = {
    "tests": run_tests,
    "small": lambda sizes: measure_passes(sizes, sizes.small, 3),
    "large": lambda sizes: measure_passes(sizes, sizes.large, 2),
    "lora_step": measure_lora_steps,
    "profile_small": lambda sizes: profile_passes(sizes, sizes.small),
    "profile_large": lambda sizes: profile_passes(sizes, sizes.large),
    "profile_lora_step": profile_lora_step,
}


def _config(name: str) -> Any:
    return meta_model(name, TinyRandomParams(), ["some text"]).config


def _lora_steps(sizes: Sizes, folder: Path, shared_prefix: tuple[str, ...]) -> list[Work]:
    """An optimizer step of the small policy with adapters and a frozen vision tower, for each value."""
    sample, store = make_sample(sizes.frames, sizes.side)
    _write_random_policy(sizes.small, f"{sample.question} {sample.answer}", folder / "start")
    params = TrainParams(policy=str(folder / "start"), freeze_vision=True, lora=LoraParams())
    groups_per_forward = {"on": min(GROUPS_PER_FORWARD, sizes.prompts_per_step), "off": 1}
    steps = []
    for shared in shared_prefix:
        grpo = GrpoParams(
            steps=1000,
            prompts_per_step=sizes.prompts_per_step,
            prompts_per_forward=groups_per_forward[shared],
            prompts_per_rollout={"on": None, "off": REPEATED_PROMPTS}[shared],
            max_completion_tokens=12,
            learning_rate=1e-5,
            checkpoint_every=1000,
        )
        run = dataclasses.replace(params, shared_prefix=shared, grpo=grpo)
        steps.append(make_step(run, sample, store, folder / shared))
    return steps


def _with_peak(step: Work, peaks: list[float]) -> float:
    """Run a step, note its peak GiB, and return the seconds that the step measured."""
    seconds: list[float] = []
    peaks.append(peak_memory(lambda: seconds.append(step())))  # type: ignore[arg-type]
    return seconds[0]


def _write_random_policy(name: str, text: str, folder: Path) -> None:
    """A checkpoint of this architecture with random bfloat16 weights, and a small tokenizer trained on `text`."""
    config, tokenizer = _config(name), train_tokenizer([text], 512)
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in VISION_TOKENS)
    config.vision_start_token_id, config.vision_end_token_id = start, end
    config.image_token_id, config.video_token_id = image, video
    config.text_config.vocab_size = max(config.text_config.vocab_size, len(tokenizer))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    write_processor(tokenizer, folder)


def _profile(work: Work, path: Path) -> Figures:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        seconds = seconds_of(work)
    averages = profiler.key_averages()
    write_text(path, averages.table(sort_by="self_device_time_total", row_limit=20, max_name_column_width=70))
    waits = {event.key: event.count for event in averages if "Synchronize" in event.key or event.key == "aten::item"}
    busy = sum(event.self_device_time_total for event in averages) / 1e6
    return {"seconds": seconds, "gpu_busy_seconds": busy, "waits": waits}


def _environment() -> Figures:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


def run_part(name: str, sizes: Sizes) -> None:
    """Run one part in this process and write its figures."""
    start = time.perf_counter()
    figures = PARTS[name](sizes)
    seconds = time.perf_counter() - start
    write_json(OUT / f"{name}.json", {**_environment(), "seconds": seconds, **figures}, indent=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="run this part alone; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="a tiny policy: shows that every part runs")
    arguments = parser.parse_args()
    names = arguments.only or list(PARTS)
    if len(names) == 1:
        run_part(names[0], DRY_RUN if arguments.dry_run else Sizes())
        return
    print(json.dumps(_environment()))
    table, failed = Table("part", "outcome", "seconds"), []
    for name in names:  # a process for each: a fault of the GPU ends the process that meets it
        start = time.perf_counter()
        line = [sys.executable, "-m", "bench.gpu_check", "--only", name, *(["--dry-run"] * arguments.dry_run)]
        failed += [name] if subprocess.run(line).returncode else []
        outcome = "failed" if name in failed else "done"
        table.add_row(name, outcome, f"{time.perf_counter() - start:.0f}")
    Console().print(table)
    sys.exit(bool(failed))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
