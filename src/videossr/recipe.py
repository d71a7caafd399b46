"""The parameters of a whole run: a params file with all its sections, checked at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from videossr import config
from videossr.dataset.params import VIUBENCH, PretextParams
from videossr.errors import ConfigError
from videossr.evaluation.downstream.params import DownstreamParams
from videossr.evaluation.runner import EvaluateParams
from videossr.frames.sampling import FramesParams
from videossr.gates import ValidateParams
from videossr.ingest.params import IngestParams
from videossr.pretext import PretextTask
from videossr.records import FrameTimes
from videossr.report.params import ReportParams
from videossr.train.curriculum import task_at_level, tasks_in_phase
from videossr.train.params import TrainParams

_MAX_SEED = 2**32 - 1  # NumPy's global generator takes no more


@dataclass(frozen=True)
class Recipe:
    """The eight sections of a params file.

    Raises ConfigError when a rule between sections is broken.
    """

    ingest: IngestParams
    frames: FramesParams
    pretext: PretextParams
    validate: ValidateParams
    train: TrainParams
    evaluate: EvaluateParams
    downstream: DownstreamParams
    report: ReportParams

    def __post_init__(self) -> None:
        for name, seed in (("pretext.seed", self.pretext.seed), ("train.seed", self.train.seed)):
            if not 0 <= seed <= _MAX_SEED:
                raise ConfigError(f"{name} must be 0..{_MAX_SEED}, got {seed}")
        num_samples, num_prompts = self.pretext.train.num_samples, self.train.grpo.prompts_per_step
        if num_samples < num_prompts:
            raise ConfigError(
                f"pretext.train.num_samples must be at least train.grpo.prompts_per_step (a step's prompts are "
                f"different samples), got {num_samples} and {num_prompts}"
            )
        self._require_frames()

    def _require_frames(self) -> None:
        """Raise ConfigError where the stored frames cannot show a kind of sample that the run makes."""
        video = FrameTimes("", tuple(map(float, range(self.frames.num_frames))))
        for where, task, variant in self._kinds():
            try:
                task.fits(video, variant)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None

    def _kinds(self) -> Iterator[tuple[str, PretextTask, str]]:
        """Each kind of sample that the run makes: where it comes from, the task, and the variant."""
        mixture = [kind for kind, share in self.pretext.train.mixture.items() if share > 0]
        for kind in dict.fromkeys([*VIUBENCH, *mixture]):
            name, _, variant = kind.partition("/")
            yield f"pretext.{name}, variant {variant}", self.pretext.tasks[name], variant
        for name, levels in self.train.curriculum.levels.items() if self.train.curriculum else ():
            for i, level in enumerate(levels):
                where = f"train.curriculum.levels.{name}[{i}]"
                task = task_at_level(self.pretext.tasks[name], level, where)
                variants = [kind.partition("/")[2] for kind in mixture if kind.startswith(f"{name}/")]
                yield from ((where, task, variant) for variant in ([level.variant] if level.variant else variants))
        for i, phase in enumerate(self.train.warmup.phases):
            where = f"train.warmup.phases[{i}]"
            tasks = tasks_in_phase(phase, self.pretext.tasks, where)
            for name, _, variant in (kind.partition("/") for kind in phase.mixture):
                yield where, tasks[name], variant


def load_recipe(path: Path) -> Recipe:
    """Read a params file and check all sections. Raises ConfigError with the first error found."""
    return config.build(Recipe, config.load(path), path.name)
