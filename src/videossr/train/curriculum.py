"""A curriculum that follows the policy, and a running scale of each task's rewards.

A sample is an edit, so a sample of another difficulty is generated anew from the same video, without reading a pixel.
Every random choice is seeded by (seed, step, place), so a restart repeats it.
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
from videossr.train.params import CurriculumParams, Level, WarmupPhase

_FLOOR_SAMPLES = 200  # samples of a level that its blind floor is measured on
_MAX_FLOOR = 0.95  # above it, one constant answer solves the level
_DECAY = 0.99  # of the running variance of a task's rewards, a step


class Curriculum:
    """The present level of each task, moved by the running success at that level.

    `tasks` are the tasks with the run's parameters; a level changes some of their fields. `samples` give the videos on
    which each level's blind floor is measured; `frame_times` maps a video id to its frame times, or raises KeyError.
    `levels` maps each task that has levels to its present one, `floors` to the blind floor of each. Raises ConfigError
    where a level names a field or a variant that the task does not have.
    """

    def __init__(
        self,
        params: CurriculumParams,
        tasks: Mapping[str, PretextTask],
        samples: Sequence[Sample],
        frame_times: Callable[[str], FrameTimes],
        seed: int,
    ) -> None:
        self.params = params
        self._frame_times = frame_times
        self._stored = {video_id for video_id in {sample.video_id for sample in samples} if self._is_stored(video_id)}
        self._donors = sorted(self._stored)
        self._tasks_by_level = {
            name: [
                task_at_level(tasks[name], level, f"train.curriculum.levels.{name}[{i}]")
                for i, level in enumerate(levels)
            ]
            for name, levels in params.levels.items()
        }
        self.levels = dict.fromkeys(params.levels, 0)
        self._success: dict[str, deque[float]] = {name: deque(maxlen=params.window) for name in params.levels}
        self.floors = {name: self._measure_floors(name, samples, seed) for name in params.levels}

    def at_current_level(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A new sample of the same task and video at the task's present level, under the same id.

        Returns `sample` itself where its task has no levels, or where the level does not fit its video.
        """
        return self._at_level(sample, self.levels[sample.task], rng) if sample.task in self.levels else sample

    def current_floor(self, task: str) -> float | None:
        """The blind floor of a task at its present level; None where the task has no levels."""
        return self.floors[task][self.levels[task]] if task in self.levels else None

    def observe(self, groups: Iterable[tuple[str, float]]) -> None:
        """Record (task, mean smooth reward) of groups at the present levels, and move the levels where it is due."""
        for name, reward in groups:
            if name in self.levels:
                floor = self.floors[name][self.levels[name]]
                self._success[name].append((reward - floor) / (1 - floor))
        for name, success in self._success.items():
            if len(success) == self.params.window:
                self._move(name, sum(success) / len(success))

    def state(self) -> dict[str, Any]:
        """What a checkpoint stores: JSON."""
        return {"levels": self.levels, "success": {name: list(values) for name, values in self._success.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.levels = dict(state["levels"])
        for name, values in state["success"].items():
            self._success[name] = deque(values, maxlen=self.params.window)

    def _at_level(self, sample: Sample, level: int, rng: np.random.Generator) -> Sample:
        task, video = self._tasks_by_level[sample.task][level], self._frame_times(sample.video_id)
        variant = self.params.levels[sample.task][level].variant or sample.variant
        if not task.fits(video, variant):
            return sample
        return dataclasses.replace(task.generate(video, variant, rng, self._donors), sample_id=sample.sample_id)

    def _is_stored(self, video_id: str) -> bool:
        try:
            self._frame_times(video_id)
        except KeyError:
            return False
        return True

    def _measure_floors(self, name: str, samples: Sequence[Sample], seed: int) -> list[float]:
        """The blind floor of each level of a task; none where no sample can show it."""
        usable = [s for s in samples if s.task == name and s.video_id in self._stored][:_FLOOR_SAMPLES]
        floors = []
        for level in range(len(self._tasks_by_level[name]) if usable else 0):
            at_level = [self._at_level(s, level, np.random.default_rng([seed, level, i])) for i, s in enumerate(usable)]
            floors.append(blind_floors(at_level)[name])
            if floors[-1] > _MAX_FLOOR:
                raise ConfigError(
                    f"train.curriculum.levels.{name}[{level}] is solved by one constant answer, nothing can be learned "
                    "there: let its answers differ"
                )
        return floors

    def _move(self, name: str, success: float) -> None:
        step = (success > self.params.target + self.params.band) - (success < self.params.target - self.params.band)
        level = min(max(self.levels[name] + step, 0), len(self._tasks_by_level[name]) - 1)
        if level != self.levels[name]:
            self.levels[name] = level
            self._success[name].clear()


def task_at_level(task: PretextTask, level: Level, where: str) -> PretextTask:
    """The task with the settings of a level. Raises ConfigError for a field or a variant that it does not have."""
    if level.variant is not None and level.variant not in task.variants:
        raise ConfigError(f"{where} has no variant '{level.variant}': accepted are {', '.join(task.variants)}")
    return config.build(type(task), {**dataclasses.asdict(task), **level.settings}, where)  # type: ignore[call-overload]


def tasks_in_phase(phase: WarmupPhase, tasks: Mapping[str, PretextTask], where: str) -> dict[str, PretextTask]:
    """The tasks with the settings of a phase. Raises ConfigError for a field that a task does not have."""
    return {
        name: task_at_level(task, Level(dict(phase.settings.get(name, {}))), f"{where}.settings.{name}")
        for name, task in tasks.items()
    }


class TaskScale:
    """The running standard deviation of each task's rewards within their groups.

    Advantages are divided by it, so that a task with a wide spread of rewards does not dominate the others.
    """

    def __init__(self) -> None:
        self._variance: dict[str, float] = {}

    def observe(self, groups: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Record the groups of one step: (task, rewards)."""
        variances_by_task: dict[str, list[float]] = {}
        for name, rewards in groups:
            variances_by_task.setdefault(name, []).append(float(np.var(rewards)))
        for name, variances in variances_by_task.items():
            mean = sum(variances) / len(variances)
            self._variance[name] = _DECAY * self._variance.get(name, mean) + (1 - _DECAY) * mean

    def of(self, name: str) -> float:
        """What the advantages of a task are divided by."""
        return float(np.sqrt(self._variance[name])) + 1e-4

    def state(self) -> dict[str, float]:
        """What a checkpoint stores: JSON."""
        return self._variance

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from what `state` returned."""
        self._variance = dict(state)
