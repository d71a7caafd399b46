"""From a sample to an encoded prompt, and what happens to samples that cannot be used."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from videossr.errors import StoreError, TrainingError
from videossr.models.encode_prompt import EncodedPrompt, encode
from videossr.models.policy import Prompt
from videossr.records import Sample
from videossr.train.curriculum import Curriculum

log = logging.getLogger(__name__)

Position = tuple[int, ...]  # (step, place within the step, attempt): seeds every random choice of a group
_MAX_TRIES = 100  # unusable samples in a row before training gives up
_MAX_THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class EncodedSample:
    """A sample as it is put to the policy: at the curriculum's level, with its encoded prompt."""

    sample: Sample
    prompt: EncodedPrompt


_Built = tuple[EncodedSample, dict[str, str]]  # and the reasons of those that could not be used


class PromptBuilder:
    """Renders and encodes samples, each at the present level of the curriculum where there is one.

    A sample that cannot be rendered, or whose prompt is longer than `max_prompt_tokens`, is skipped: `skipped` maps its
    id to the reason, and another sample takes its place. A video is never cut.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        render: Callable[[Sample], Prompt],
        processor: Any,
        max_prompt_tokens: int,
        seed: int,
        curriculum: Curriculum | None = None,
    ) -> None:
        self.skipped: dict[str, str] = {}
        self.curriculum = curriculum
        self._samples = {sample.sample_id: sample for sample in samples}
        self._ids = [sample.sample_id for sample in samples]
        self._render = render
        self._processor = processor
        self._max_prompt_tokens = max_prompt_tokens
        self._seed = seed
        self._begun: dict[tuple[str, Position], Future[_Built]] = {}

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that the samples belong to, sorted."""
        return sorted({sample.task for sample in self._samples.values()})

    def build(self, sample_id: str, *position: int) -> EncodedSample:
        """Encode a sample, or a random other one where it cannot be used.

        `position` (the step, the place within it, ...) seeds every random choice, so that a restart repeats it. Raises
        TrainingError after 100 unusable samples in a row.
        """
        encoded, skips = self._build(sample_id, position)
        self._add_skips(skips)
        return encoded

    def build_all(self, sample_ids: Sequence[str], positions: Sequence[Position]) -> list[EncodedSample]:
        """Encode samples, each at its position, in threads: rendering and the processor release the interpreter.

        The result does not depend on the number of threads, or on what was begun before, because each sample has random
        choices of its own.
        """
        keys, begun = list(zip(sample_ids, positions, strict=True)), self._begun
        self._begun = {}
        futures = {**self._submit([key for key in keys if key not in begun]), **begun}
        built = [futures[key].result() for key in keys]
        for _, skips in built:
            self._add_skips(skips)
        return [encoded for encoded, _ in built]

    def begin(self, sample_ids: Sequence[str], positions: Sequence[Position]) -> None:
        """Begin to encode the samples of the next `build_all`, and return at once.

        Under a curriculum nothing is begun, because the level of the next step is not known yet.
        """
        if self.curriculum is None:
            self._begun = self._submit(list(zip(sample_ids, positions, strict=True)))

    def build_random(self, *position: int) -> EncodedSample:
        """Encode a sample that is chosen at random, seeded by `position`."""
        rng = np.random.default_rng([self._seed, *position])
        return self.build(self._ids[int(rng.integers(len(self._ids)))], *position)

    def try_encode(self, sample: Sample, rng: np.random.Generator) -> EncodedSample | None:
        """Encode this sample, or note in `skipped` why it cannot be used and return None."""
        encoded = self._encode(sample, rng)
        if isinstance(encoded, EncodedSample):
            return encoded
        self._add_skips({sample.sample_id: encoded})
        return None

    def _submit(self, keys: Sequence[tuple[str, Position]]) -> dict[tuple[str, Position], Future[_Built]]:
        pool = ThreadPoolExecutor(_MAX_THREADS, "encode-prompts", initializer=torch.set_num_threads, initargs=(1,))
        futures = {key: pool.submit(self._build, *key) for key in keys}
        pool.shutdown(wait=False)  # its threads end after the last sample
        return futures

    def _build(self, sample_id: str, position: Position) -> _Built:
        """The encoded sample, and why others before it could not be used. Changes nothing: it runs in threads."""
        rng, skips = np.random.default_rng([self._seed, *position]), dict[str, str]()
        for _ in range(_MAX_TRIES):
            encoded = self._encode(self._samples[sample_id], rng)
            if isinstance(encoded, EncodedSample):
                return encoded, skips
            skips[sample_id], last_reason = encoded, encoded
            sample_id = self._ids[int(rng.integers(len(self._ids)))]
        raise TrainingError(
            f"{_MAX_TRIES} samples in a row could not be used, the last because {last_reason}: "
            "run the frames stage again, or raise train.grpo.max_prompt_tokens"
        )

    def _encode(self, sample: Sample, rng: np.random.Generator) -> EncodedSample | str:
        """The encoded sample, or why it cannot be used."""
        if sample.sample_id in self.skipped:
            return self.skipped[sample.sample_id]
        try:
            if self.curriculum is not None:
                sample = self.curriculum.at_current_level(sample, rng)
            prompt = self._render(sample)
        except (StoreError, KeyError) as error:
            return f"it cannot be rendered ({type(error).__name__}: {error})"
        encoded = encode(self._processor, prompt)
        if len(encoded) > self._max_prompt_tokens:
            return f"its prompt has {len(encoded)} tokens, more than {self._max_prompt_tokens}"
        return EncodedSample(sample, encoded)

    def _add_skips(self, skips: Mapping[str, str]) -> None:
        for sample_id, reason in skips.items():
            if sample_id not in self.skipped:
                self.skipped[sample_id] = reason
                log.warning("sample %s is skipped: %s", sample_id, reason)
