"""From a row of the data set to a puzzle that is put to the policy, and what is done about rows that cannot be."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videossr.errors import StoreError, TrainingError
from videossr.models.encode_prompt import EncodedPrompt, encode
from videossr.models.policy import Prompt
from videossr.records import Sample
from videossr.train.curriculum import Curriculum

log = logging.getLogger(__name__)

_TRIES = 100  # samples in a row that may be unusable before training gives up


@dataclass(frozen=True)
class EncodedSample:
    """One encoded prompt, and the row that its completions are judged by."""

    row: dict[str, Any]
    prompt: EncodedPrompt


class PromptBuilder:
    """Makes puzzles of samples: at the curriculum's level if there is one, rendered, encoded, short enough.

    A sample that cannot be rendered or is longer than `max_prompt_tokens` is skipped, named and counted in `skipped`
    (its id -> the reason), and another one takes its place: never is a video cut.
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
        self._samples: Mapping[str, Sample] = {sample.sample_id: sample for sample in samples}
        self._ids = [sample.sample_id for sample in samples]
        self._render = render
        self._processor = processor
        self._max_prompt_tokens = max_prompt_tokens
        self._seed = seed

    def puzzle(self, sample_id: str, *place: int) -> EncodedSample:
        """The puzzle of a sample, or of another one where it cannot be used; `place` says when and where it is asked.

        Raises TrainingError where a hundred samples in a row are unusable.
        """
        rng = np.random.default_rng([self._seed, *place])
        for _ in range(_TRIES):
            puzzle = self._made(self._samples[sample_id], rng)
            if puzzle is not None:
                return puzzle
            sample_id = self._ids[int(rng.integers(len(self._ids)))]
        raise TrainingError(
            f"{_TRIES} samples in a row could not be used, the last because {next(reversed(self.skipped.values()))}: "
            "run the frames stage again, or raise train.grpo.max_prompt_tokens"
        )

    def another(self, *place: int) -> EncodedSample:
        """A puzzle that `place` alone decides on."""
        rng = np.random.default_rng([self._seed, *place])
        return self.puzzle(self._ids[int(rng.integers(len(self._ids)))], *place)

    def _made(self, sample: Sample, rng: np.random.Generator) -> EncodedSample | None:
        if sample.sample_id in self.skipped:
            return None
        try:
            if self.curriculum is not None:
                sample = self.curriculum.lesson(sample, rng)
            prompt = self._render(sample)
        except (StoreError, KeyError) as error:
            self._skip(sample, f"it cannot be rendered ({type(error).__name__}: {error})")
            return None
        encoded = encode(self._processor, prompt)
        if len(encoded) > self._max_prompt_tokens:
            self._skip(sample, f"its prompt has {len(encoded)} tokens, more than {self._max_prompt_tokens}")
            return None
        return EncodedSample(row_of(sample), encoded)

    def _skip(self, sample: Sample, reason: str) -> None:
        self.skipped[sample.sample_id] = reason
        log.warning("sample %s is skipped: %s", sample.sample_id, reason)


def row_of(sample: Sample) -> dict[str, str]:
    """A sample as a row of the data set: what the reward reads, no edit and no pixels."""
    return {
        "prompt": sample.question,
        "sample_id": sample.sample_id,
        "task": sample.task,
        "variant": sample.variant,
        "answer": sample.answer,
    }
