"""From a sample to an encoded prompt, and what happens to samples that cannot be used."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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

_MAX_TRIES = 100  # unusable samples in a row before training gives up
_MAX_THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class EncodedSample:
    """A sample as it is put to the policy: at the curriculum's level, with its encoded prompt."""

    sample: Sample
    prompt: EncodedPrompt


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

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that the samples belong to, sorted."""
        return sorted({sample.task for sample in self._samples.values()})

    def build(self, sample_id: str, *position: int) -> EncodedSample:
        """Encode a sample, or a random other one where it cannot be used.

        `position` (the step, the place within it, ...) seeds every random choice, so that a restart repeats it. Raises
        TrainingError after 100 unusable samples in a row.
        """
        rng = np.random.default_rng([self._seed, *position])
        for _ in range(_MAX_TRIES):
            encoded = self.try_encode(self._samples[sample_id], rng)
            if encoded is not None:
                return encoded
            sample_id = self._ids[int(rng.integers(len(self._ids)))]
        last_reason = next(reversed(self.skipped.values()))
        raise TrainingError(
            f"{_MAX_TRIES} samples in a row could not be used, the last because {last_reason}: "
            "run the frames stage again, or raise train.grpo.max_prompt_tokens"
        )

    def build_all(self, sample_ids: Sequence[str], positions: Sequence[tuple[int, ...]]) -> list[EncodedSample]:
        """Encode samples, each at its position, in threads: rendering and the processor release the interpreter.

        The result does not depend on the number of threads, because each sample has random choices of its own.
        """
        with ThreadPoolExecutor(_MAX_THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(lambda name, position: self.build(name, *position), sample_ids, positions))

    def build_random(self, *position: int) -> EncodedSample:
        """Encode a sample that is chosen at random, seeded by `position`."""
        rng = np.random.default_rng([self._seed, *position])
        return self.build(self._ids[int(rng.integers(len(self._ids)))], *position)

    def try_encode(self, sample: Sample, rng: np.random.Generator) -> EncodedSample | None:
        """Encode this sample, or note in `skipped` why it cannot be used and return None."""
        if sample.sample_id in self.skipped:
            return None
        try:
            if self.curriculum is not None:
                sample = self.curriculum.at_current_level(sample, rng)
            prompt = self._render(sample)
        except (StoreError, KeyError) as error:
            self._skip(sample, f"it cannot be rendered ({type(error).__name__}: {error})")
            return None
        encoded = encode(self._processor, prompt)
        if len(encoded) > self._max_prompt_tokens:
            self._skip(sample, f"its prompt has {len(encoded)} tokens, more than {self._max_prompt_tokens}")
            return None
        return EncodedSample(sample, encoded)

    def _skip(self, sample: Sample, reason: str) -> None:
        self.skipped[sample.sample_id] = reason
        log.warning("sample %s is skipped: %s", sample.sample_id, reason)
