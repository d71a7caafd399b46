"""Difficulty that follows the policy, and rewards on one scale: what training remembers of its tasks.

A sample is an edit, so a puzzle of another difficulty is decided anew from the same video, in no time and without a
pixel. Whatever is drawn here is drawn from (seed, step, place), so that a restart draws it again.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from videossr import config
from videossr.errors import ConfigError
from videossr.pretext import PretextTask
from videossr.pretext.baselines import blind_floors
from videossr.records import FrameTimes, Sample
from videossr.train.params import CurriculumParams, Level

_FLOOR_SAMPLES = 200  # puzzles of a level from which its blind floor is taken
_SOLVED_BLINDLY = 0.95
_DECAY = 0.99  # of the running variance of a task's rewards, a step


class Curriculum:
    """Which level each task is at, and why: the running success at that level.

    `tasks` are the tasks as the run parametrises them; a level changes some of their fields. `samples` give the videos
    that each level's blind floor is taken on. Raises ConfigError where a level names a field or a variant that the task
    does not have.
    """

    def __init__(
        self,
        params: CurriculumParams,
        tasks: Mapping[str, PretextTask],
        samples: Sequence[Sample],
        footage: Callable[[str], FrameTimes],
        seed: int,
    ) -> None:
        self.params = params
        self._footage = footage
        self._stored = {video_id for video_id in {sample.video_id for sample in samples} if self._is_stored(video_id)}
        self._donors = sorted(self._stored)
        self._ladders = {
            name: [
                _at_level(tasks[name], level, f"train.curriculum.levels.{name}[{i}]") for i, level in enumerate(rungs)
            ]
            for name, rungs in params.levels.items()
        }
        self.levels = dict.fromkeys(params.levels, 0)
        self._success: dict[str, deque[float]] = {name: deque(maxlen=params.window) for name in params.levels}
        self.floors = {name: self._floors(name, samples, seed) for name in params.levels}

    def lesson(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A puzzle of the sample's task on its video at the task's present level; the sample where none fits."""
        return self._made(sample, self.levels[sample.task], rng) if sample.task in self.levels else sample

    def _made(self, sample: Sample, level: int, rng: np.random.Generator) -> Sample:
        task, footage = self._ladders[sample.task][level], self._footage(sample.video_id)
        variant = self.params.levels[sample.task][level].variant or sample.variant
        if not task.fits(footage, variant):
            return sample
        made = task.generate(footage, variant, rng, self._donors)
        return dataclasses.replace(made, sample_id=sample.sample_id)

    def _is_stored(self, video_id: str) -> bool:
        try:
            self._footage(video_id)
        except KeyError:
            return False
        return True

    def _floors(self, name: str, samples: Sequence[Sample], seed: int) -> list[float]:
        asked = [s for s in samples if s.task == name and s.video_id in self._stored][:_FLOOR_SAMPLES]
        floors = []
        for level in range(len(self._ladders[name]) if asked else 0):
            made = [self._made(s, level, np.random.default_rng([seed, level, i])) for i, s in enumerate(asked)]
            floors.append(blind_floors(made)[name])
            if floors[-1] > _SOLVED_BLINDLY:
                raise ConfigError(
                    f"train.curriculum.levels.{name}[{level}] is solved by one constant answer, nothing can be learned "
                    "there: let its answers differ"
                )
        return floors

    def observe(self, groups: Iterable[tuple[str, float]]) -> None:
        """Take note of (task, mean smooth reward) of groups asked at the present levels, and move where it is time."""
        for name, reward in groups:
            if name in self.levels:
                floor = self.floors[name][self.levels[name]]
                self._success[name].append((reward - floor) / (1 - floor))
        for name, success in self._success.items():
            if len(success) == self.params.window:
                self._move(name, sum(success) / len(success))

    def _move(self, name: str, success: float) -> None:
        step = (success > self.params.target + self.params.band) - (success < self.params.target - self.params.band)
        level = min(max(self.levels[name] + step, 0), len(self._ladders[name]) - 1)
        if level != self.levels[name]:
            self.levels[name] = level
            self._success[name].clear()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: JSON."""
        return {"levels": self.levels, "success": {name: list(values) for name, values in self._success.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.levels = dict(state["levels"])
        for name, values in state["success"].items():
            self._success[name] = deque(values, maxlen=self.params.window)


def _at_level(task: PretextTask, level: Level, where: str) -> PretextTask:
    if level.variant is not None and level.variant not in task.variants:
        raise ConfigError(f"{where} has no variant '{level.variant}': accepted are {', '.join(task.variants)}")
    return config.build(type(task), {**dataclasses.asdict(task), **level.settings}, where)  # type: ignore[call-overload]


class TaskScale:
    """The running standard deviation of each task's rewards within their groups, so that no task outshouts another."""

    def __init__(self) -> None:
        self._variance: dict[str, float] = {}

    def observe(self, groups: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Take note of one step's groups: (task, rewards)."""
        seen: dict[str, list[float]] = {}
        for name, rewards in groups:
            seen.setdefault(name, []).append(float(np.var(rewards)))
        for name, variances in seen.items():
            mean = sum(variances) / len(variances)
            self._variance[name] = _DECAY * self._variance.get(name, mean) + (1 - _DECAY) * mean

    def of(self, name: str) -> float:
        """What the task's advantages are divided by."""
        return float(np.sqrt(self._variance[name])) + 1e-4

    def state(self) -> dict[str, float]:
        """What a checkpoint holds: JSON."""
        return self._variance

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on where `state` was taken."""
        self._variance = dict(state)
