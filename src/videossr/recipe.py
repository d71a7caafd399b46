"""The parameters of a whole run: a params file with all its sections, checked at once."""

from dataclasses import dataclass
from pathlib import Path

from videossr import config
from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.evaluation.runner import EvaluateParams
from videossr.frames.sampling import FramesParams
from videossr.gates import ValidateParams
from videossr.ingest.params import IngestParams
from videossr.report.params import ReportParams
from videossr.train.params import TrainParams


@dataclass(frozen=True)
class Recipe:
    """The seven sections of a params file.

    Raises ConfigError when a rule between sections is broken.
    """

    ingest: IngestParams
    frames: FramesParams
    pretext: PretextParams
    validate: ValidateParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams

    def __post_init__(self) -> None:
        num_stored = self.frames.num_frames
        for task in ("grounding", "counting"):
            num_shown = getattr(self.pretext, task).num_frames
            if num_stored % num_shown:
                raise ConfigError(
                    f"frames.num_frames must be a multiple of pretext.{task}.num_frames, "
                    f"got {num_stored} and {num_shown}"
                )


def load_recipe(path: Path) -> Recipe:
    """Read a params file and check all sections. Raises ConfigError with the first error found."""
    return config.build(Recipe, config.load(path), path.name)
