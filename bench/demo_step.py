"""The steps of the embedded default against the same work done the usual way.

    OMP_NUM_THREADS=1 python -m bench.demo_step     a few minutes; `make run` must have made the data

Writes `reports/bench/demo_step.json`: rows {name, ours, theirs, ratio, unit} in CPU-seconds, medians over rounds in
which both sides alternate.

`render`: a prompt's frames, against decoding all stored frames of its video. `encode`: a prompt as tensors, against
the processor of Qwen3-VL. `warm_step`: a step of the warm start with 16 prompts, from samples to the update, against
the processor, one padded batch with transformers' own attention and logits of every token, and AdamW. `grpo_step`: a
step of GRPO with 16 prompts, against the prompt repeated for every completion. `evaluate`: 100 questions of VIUBench,
against one question at a time. What whole stages take: `videossr results`.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from bench.measure import alternate, measure_cpu_seconds
from bench.rows import Row, print_rows, update_rows
from bench.trainer_step import make_sample, make_step
from videossr import config
from videossr.clip import Clip
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import read_samples
from videossr.evaluation.runner import evaluate
from videossr.frames.store import FrameStore
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_policy, load_processor
from videossr.models.encode_prompt import chat_messages, encode
from videossr.models.policy import Prompt, render_prompt
from videossr.models.tiny_random import write_tiny_random
from videossr.pretext import TASKS
from videossr.records import Sample
from videossr.train.params import TrainParams
from videossr.train.prefix import Group
from videossr.train.warmup import make_optimizers
from videossr.train.warmup_gradients import part_gradient, set_gradient

OUT = Path("reports/bench/demo_step.json")
BATCH = 16
QUESTIONS = 100


class Demo:
    """The data of the last run, its parameters, and a tiny random policy of its sizes in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.params = config.load(Path("params.yaml"))
        self.train = config.build(TrainParams, self.params["train"], "train")
        self.store = FrameStore(Path("data/frames"))
        samples = read_samples(Path("data/samples/train.parquet"))
        self.samples = samples[:: max(1, len(samples) // 400)]
        self.folder = folder
        write_tiny_random(self.train.tiny_random, [f"{s.question} {s.answer}" for s in samples], 0, folder)
        self.processor = load_processor(folder)

    def batch(self, number: int) -> list[Sample]:
        """`BATCH` of the samples, another batch for another number."""
        start = number * BATCH % (len(self.samples) - BATCH)
        return self.samples[start : start + BATCH]

    def answer_ids(self, sample: Sample) -> torch.Tensor:
        """The tokens of the right answer and the end, int64 [N]."""
        tokenizer = self.processor.tokenizer
        ids: torch.Tensor = tokenizer(sample.answer + tokenizer.eos_token, return_tensors="pt").input_ids[0]
        return ids


def compare_render(demo: Demo, rounds: int) -> Row:
    def ours(batch: Sequence[Sample]) -> None:
        for sample in batch:
            render_prompt(sample, TASKS[sample.task](), demo.store)

    def theirs(batch: Sequence[Sample]) -> None:
        for sample in batch:
            clip = demo.store[sample.video_id]
            render_prompt(sample, TASKS[sample.task](), {sample.video_id: Clip(clip.frames, clip.times)})

    return _row("render", demo, ours, theirs, rounds, f"CPU-seconds, {BATCH} prompts")


def compare_encode(demo: Demo, rounds: int) -> Row:
    def ours(batch: Sequence[Sample]) -> None:
        for prompt in _prompts(demo, batch):
            encode(demo.processor, prompt)

    def theirs(batch: Sequence[Sample]) -> None:
        for prompt in _prompts(demo, batch):
            _processor_inputs(demo, [prompt], [""])

    return _row("encode", demo, ours, theirs, rounds, f"CPU-seconds, {BATCH} prompts, rendering included")


def compare_warm_step(demo: Demo, rounds: int) -> Row:
    model = load_model(demo.folder, "float32").train()
    use_branched_attention(model)
    usual_model = AutoModelForImageTextToText.from_pretrained(demo.folder).train()
    optimizers = make_optimizers(model, demo.train.warmup)
    adamw = torch.optim.AdamW(usual_model.parameters(), lr=1e-3)
    pad = demo.processor.tokenizer.pad_token_id

    def ours(batch: Sequence[Sample]) -> None:
        prompts = zip(_prompts(demo, batch), batch, strict=True)
        groups = [Group(encode(demo.processor, prompt), [demo.answer_ids(sample)]) for prompt, sample in prompts]
        set_gradient(model, [part_gradient(model, groups, demo.train.warmup.prompts_per_forward, pad)])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def theirs(batch: Sequence[Sample]) -> None:
        answers = [sample.answer + demo.processor.tokenizer.eos_token for sample in batch]
        inputs = _processor_inputs(demo, _prompts(demo, batch), answers)
        labels = inputs["input_ids"].clone()
        for row, sample in zip(labels, batch, strict=True):
            row[: -len(demo.answer_ids(sample))] = -100
        usual_model(**inputs, labels=labels).loss.backward()
        adamw.step()
        adamw.zero_grad()

    return _row("warm_step", demo, ours, theirs, rounds, f"CPU-seconds, {BATCH} prompts")


def compare_grpo_step(demo: Demo, rounds: int) -> Row:
    frames, side = demo.params["pretext"]["grounding"]["num_frames"], round(demo.params["frames"]["max_pixels"] ** 0.5)
    sample, store = make_sample(frames, side)
    grpo = dataclasses.replace(demo.train.grpo, steps=10_000, prompts_per_step=BATCH, checkpoint_every=100_000)
    shared, repeated = (
        make_step(
            TrainParams(policy=str(demo.folder), shared_prefix=how, grpo=grpo),
            sample,
            store,
            demo.folder / f"step-{how}",
        )
        for how in ("on", "off")
    )
    shared(), repeated()
    ours, theirs = alternate(partial(measure_cpu_seconds, shared), partial(measure_cpu_seconds, repeated), rounds)
    return _to_row("grpo_step", ours, theirs, f"CPU-seconds, {BATCH} prompts of {frames} frames, 8 completions")


def compare_evaluate(demo: Demo, rounds: int) -> Row:
    tasks = config.build(PretextParams, demo.params["pretext"], "pretext").tasks
    questions = read_samples(Path("data/samples/viubench.parquet"))
    questions = questions[:: max(1, len(questions) // QUESTIONS)][:QUESTIONS]
    policy = load_policy(demo.folder)

    def ask(batch_size: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "replies.jsonl"
            return measure_cpu_seconds(
                lambda: evaluate(policy, questions, demo.store, tasks, out, batch_size=batch_size, policy_id="bench")
            )

    ours, theirs = alternate(partial(ask, 32), partial(ask, 1), rounds)
    return _to_row("evaluate", ours, theirs, f"CPU-seconds, {len(questions)} questions of VIUBench")


def _prompts(demo: Demo, batch: Sequence[Sample]) -> list[Prompt]:
    return [render_prompt(sample, TASKS[sample.task](), demo.store) for sample in batch]


def _processor_inputs(demo: Demo, prompts: Sequence[Prompt], answers: Sequence[str]) -> Any:
    """One padded batch, as transformers' documentation makes it: chat template, then the processor."""
    texts = [
        demo.processor.apply_chat_template(chat_messages(prompt.text), add_generation_prompt=True, tokenize=False)
        + answer
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    clips = [clip for prompt in prompts for clip in prompt.clips]
    return demo.processor(
        text=texts,
        videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in clips],
        do_sample_frames=False,
        do_resize=False,
        padding=True,
        return_tensors="pt",
    )


def _row(name: str, demo: Demo, ours: Callable[..., None], theirs: Callable[..., None], rounds: int, unit: str) -> Row:
    ours(demo.batch(0))
    theirs(demo.batch(0))
    numbers = {"ours": 0, "theirs": 0}

    def run(side: str, work: Callable[..., None]) -> float:
        numbers[side] += 1
        batch = demo.batch(numbers[side])
        return measure_cpu_seconds(lambda: work(batch))

    return _to_row(name, *alternate(partial(run, "ours", ours), partial(run, "theirs", theirs), rounds), unit)


def _to_row(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str) -> Row:
    ratios = sorted(their / our for our, their in zip(ours, theirs, strict=True))
    spread = f"{len(ratios)} rounds, {ratios[0]:.3g} to {ratios[-1]:.3g} times"
    return Row(name, median(ours), median(theirs), median(ratios), f"{unit}; {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder))
        rows = []
        for compare in (compare_render, compare_encode, compare_warm_step, compare_grpo_step, compare_evaluate):
            print(f"{compare.__name__} ...", file=sys.stderr)
            rows.append(compare(demo, arguments.rounds))
    update_rows(OUT, rows)
    print_rows(rows, "Steps of the embedded default, against the usual way")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
