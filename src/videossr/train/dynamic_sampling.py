"""Put puzzles to the policy, and exchange groups that teach nothing (dynamic sampling)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from accelerate.utils import gather_object

from videossr.models.qwen import EncodedPrompt
from videossr.train.prompt_builder import EncodedSample, PromptBuilder
from videossr.train.reward import Score, smooth_mean, varied

Completions = list[list[int]]  # token ids, of one group


class DynamicSampler:
    """One step's questions and answers. Processes ask side by side; what they learn of it they tell each other.

    `look` lets the vision tower see prompts ahead of time where that pays; `roll_out` samples a group of completions
    for each prompt, given a seed each; `decode` makes texts of a group.
    """

    def __init__(
        self,
        lessons: PromptBuilder,
        score: Score,
        *,
        decode: Callable[[Completions], list[str]],
        look: Callable[[Sequence[EncodedPrompt]], Sequence[EncodedPrompt]],
        roll_out: Callable[[Sequence[EncodedPrompt], Sequence[int]], list[Completions]],
        seed: int,
        refill_rounds: int,
    ) -> None:
        self.lessons = lessons
        self._score = score
        self._decode = decode
        self._look = look
        self._roll_out = roll_out
        self._seed = seed
        self._refill_rounds = refill_rounds
        self._exchanged = self._asked = 0
        self._told_skipped: set[str] = set()

    def ask(
        self, sample_ids: Sequence[str], step: int, first_place: int
    ) -> tuple[list[EncodedSample], list[Completions]]:
        """The puzzles of these samples, which stand at `first_place` and after in the step, and their completions.

        A group whose rewards are all equal gives way to one that varies, where another puzzle brings it within the
        bounded number of rounds.
        """
        places = range(first_place, first_place + len(sample_ids))
        named = zip(sample_ids, places, strict=True)
        puzzles, groups = self._answered([(self.lessons.puzzle(name, step, p), (step, p)) for name, p in named])
        self._take_note(puzzles, groups)
        self._exchanged, self._asked = 0, len(groups)
        for attempt in range(1, self._refill_rounds + 1):
            flat = [i for i, group in enumerate(groups) if not varied(self.scores(puzzles[i], group))]
            others = [(self.lessons.another(step, places[i], attempt), (step, places[i], attempt)) for i in flat]
            for i, puzzle, group in zip(flat, *self._answered(others), strict=True):
                if varied(self.scores(puzzle, group)):
                    puzzles[i], groups[i] = puzzle, group
                    self._exchanged += 1
        return puzzles, groups

    def _answered(
        self, asked: Sequence[tuple[EncodedSample, tuple[int, ...]]]
    ) -> tuple[list[EncodedSample], list[Completions]]:
        if not asked:
            return [], []
        prompts = self._look([puzzle.prompt for puzzle, _ in asked])
        seeds = [_seed(self._seed, *place) for _, place in asked]
        puzzles = [
            replace(puzzle, prompt=prompt, row={**puzzle.row, "level_floor": self._level_floor(puzzle.row["task"])})
            for (puzzle, _), prompt in zip(asked, prompts, strict=True)
        ]
        return puzzles, self._roll_out(prompts, seeds)

    def _level_floor(self, task: str) -> float | None:
        """The blind floor of the level that a task is at now, None where it has no levels."""
        curriculum = self.lessons.curriculum
        return curriculum.floors[task][curriculum.levels[task]] if curriculum and task in curriculum.levels else None

    def scores(self, puzzle: EncodedSample, group: Completions) -> list[float]:
        """What each completion of a group is paid."""
        return [self._score(puzzle.row["task"], text, puzzle.row["answer"]) for text in self._decode(group)]

    def _take_note(self, puzzles: Sequence[EncodedSample], groups: Sequence[Completions]) -> None:
        """Let the curriculum see how every process fared, before any group is exchanged."""
        if self.lessons.curriculum is None:
            return
        fared = [
            (puzzle.row["task"], smooth_mean(puzzle.row["task"], self._decode(group), puzzle.row["answer"]))
            for puzzle, group in zip(puzzles, groups, strict=True)
        ]
        self.lessons.curriculum.observe(gather_object(fared))

    def told(self) -> dict[str, float]:
        """Metrics of the last step over all processes: share of groups exchanged, samples skipped so far, levels."""
        metrics: dict[str, float] = {}
        if self._refill_rounds:
            metrics["exchanged"] = sum(gather_object([self._exchanged])) / sum(gather_object([self._asked]))
        self._share_skipped()
        if self.lessons.skipped:
            metrics["skipped"] = len(self.lessons.skipped)
        if self.lessons.curriculum is not None:
            metrics |= {f"level/{name}": level for name, level in self.lessons.curriculum.levels.items()}
        return metrics

    def _share_skipped(self) -> None:
        """Let every process know what any of them had to skip: whoever writes it down writes all of it."""
        skipped = self.lessons.skipped
        news = {name: reason for name, reason in skipped.items() if name not in self._told_skipped}
        for theirs in gather_object([news]):
            for name, reason in theirs.items():
                skipped.setdefault(name, reason)
        self._told_skipped = set(skipped)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
