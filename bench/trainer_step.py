"""Whole optimizer steps through the trainer: rendering, encoding, rollout, reference, loss and update."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from bench.step_parts import synchronize
from videossr.clip import Clip
from videossr.models.policy import Prompt, render_prompt
from videossr.pretext import Grounding
from videossr.records import FrameTimes, Sample
from videossr.train.build_trainer import build_trainer
from videossr.train.params import TrainParams
from videossr.train.progress import Progress


def make_sample(frames: int, side: int) -> tuple[Sample, dict[str, Clip]]:
    """A grounding sample of one video of noise, and the store that holds the video."""
    rng = np.random.default_rng(0)
    clip = Clip(rng.integers(0, 256, (frames, side, side, 3), np.uint8), np.arange(frames) * 0.5)
    task = Grounding(num_frames=frames, min_length=2, max_length=4)
    sample = task.generate(FrameTimes("noise", tuple(clip.times.tolist())), "mirror", rng)
    return sample, {"noise": clip}


def render(sample: Sample, store: Mapping[str, Clip]) -> Prompt:
    return render_prompt(sample, Grounding(), store)


def make_step(params: TrainParams, sample: Sample, store: Mapping[str, Clip], work: Path) -> Callable[[], float]:
    """A function that runs one optimizer step of a run and returns its seconds. Every prompt is `sample`."""
    samples = [dataclasses.replace(sample, sample_id=str(i)) for i in range(4 * params.grpo.prompts_per_step)]
    work.mkdir(parents=True)
    trainer = build_trainer(
        params, samples, lambda s: render(s, store), params.policy, work, "bench", None, lambda *_: None
    )
    timer = _StepTimer()
    trainer.remove_callback(Progress)
    trainer.add_callback(timer)

    def run() -> float:
        trainer.train()
        return timer.seconds

    return run


class _StepTimer(TrainerCallback):
    """Ends training after one step and records its seconds."""

    start = seconds = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.start = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.seconds = _now() - self.start
        control.should_training_stop = True


def _now() -> float:
    synchronize()
    return time.perf_counter()
