"""What the warm start learns from: in each phase, prompts with right answers, drawn anew at every step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from videossr.errors import TrainingError
from videossr.models.encode_prompt import encode
from videossr.models.policy import Prompt
from videossr.pretext import PretextTask
from videossr.records import VIDEO_MARKER, FrameTimes, Sample
from videossr.train.curriculum import tasks_in_phase
from videossr.train.params import WarmupParams, WarmupPhase
from videossr.train.prefix import Group
from videossr.train.prompt_builder import PromptBuilder

_MAX_TRIES = 100  # samples in a row that cannot be drawn or shown, before training gives up


class WarmupBatches:
    """The batches of all phases. The batch of a step depends on (seed, step) alone, so a restart repeats it.

    A phase without a mixture takes the run's `samples`. With a mixture, samples of its kinds are generated from the
    videos of `samples`, by `tasks` with the phase's settings; `frame_times` maps a video id to its frame times.
    """

    def __init__(
        self,
        params: WarmupParams,
        samples: Sequence[Sample],
        tasks: Mapping[str, PretextTask],
        frame_times: Callable[[str], FrameTimes],
        prompt_builder: PromptBuilder,
        processor: Any,
        seed: int,
    ) -> None:
        self._phases = params.phases
        self._samples = samples
        self._videos = sorted({sample.video_id for sample in samples})
        self._tasks = [tasks_in_phase(phase, tasks, f"phases[{i}]") for i, phase in enumerate(params.phases)]
        self._frame_times = frame_times
        self._prompt_builder = prompt_builder
        self._processor = processor
        self._seed = seed
        self._answer_ids = cache(self._tokenize_answer)  # the same few thousand answers come again and again

    def size(self, step: int) -> int:
        """The number of prompts of one step (counted from 0 over all phases)."""
        return self._phases[phase_at(self._phases, step)[0]].batch_size

    def groups(self, step: int, places: Iterable[int] | None = None) -> list[Group]:
        """The prompts of one step, each with its right answers: those at `places`, or all."""
        index, _ = phase_at(self._phases, step)
        return [self._group(index, step, place) for place in (range(self.size(step)) if places is None else places)]

    def _group(self, index: int, step: int, place: int) -> Group:
        rng, phase = np.random.default_rng([self._seed, step, place]), self._phases[index]
        if phase.shows_videos:
            return self._with_video(index, rng, f"warmup-{step}-{place}")
        sample = self._draw(index, rng)
        prompt = encode(self._processor, Prompt(sample.question.replace(VIDEO_MARKER, ""), ()))
        others = [self._draw(index, rng, sample.kind).answer for _ in range(phase.answers - 1)]
        return Group(prompt, [self._answer_ids(text) for text in (sample.answer, *others)])

    def _with_video(self, index: int, rng: np.random.Generator, name: str) -> Group:
        for _ in range(_MAX_TRIES):
            sample = self._draw(index, rng)
            encoded = self._prompt_builder.try_encode(replace(sample, sample_id=sample.sample_id or name), rng)
            if encoded is not None:
                return Group(encoded.prompt, [self._answer_ids(sample.answer)])
        reason = next(reversed(self._prompt_builder.skipped.values()))
        raise TrainingError(
            f"{_MAX_TRIES} samples of the warm start could not be used, the last because {reason}: run the frames "
            "stage again, or raise train.grpo.max_prompt_tokens"
        )

    def _draw(self, index: int, rng: np.random.Generator, kind: str | None = None) -> Sample:
        """A sample of the phase, of the kind that is named, or of one of the phase's kinds by their shares."""
        phase = self._phases[index]
        if not phase.mixture:
            samples = [sample for sample in self._samples if sample.kind == kind] if kind else self._samples
            return samples[int(rng.integers(len(samples)))]
        if kind is None:
            shares = np.array(list(phase.mixture.values()))
            kind = list(phase.mixture)[int(rng.choice(len(shares), p=shares / shares.sum()))]
        name, _, variant = kind.partition("/")
        task = self._tasks[index][name]
        for _ in range(_MAX_TRIES):
            video = self._frame_times(self._videos[int(rng.integers(len(self._videos)))])
            if task.fits(video, variant):
                return task.generate(video, variant, rng, self._videos)
        raise TrainingError(
            f"train.warmup.phases[{index}] needs a video that fits '{kind}', but {_MAX_TRIES} in a row do not: leave "
            "this kind out of its mixture, or add videos"
        )

    def _tokenize_answer(self, text: str) -> torch.Tensor:
        tokenizer = self._processor.tokenizer
        return torch.tensor(tokenizer(text + tokenizer.eos_token)["input_ids"])


def phase_at(phases: Sequence[WarmupPhase], step: int) -> tuple[int, int]:
    """The phase of a step (counted from 0 over all phases), and the step within it."""
    for index, phase in enumerate(phases):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    raise ValueError("the step must be below the number of steps of all phases")
