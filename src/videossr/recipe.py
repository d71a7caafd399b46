"""A whole run: what a params file says, every section checked at once."""

from dataclasses import dataclass
from pathlib import Path

from videossr import config
from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.evaluation.runner import EvaluateParams
from videossr.frames.sampling import FramesParams
from videossr.gates import ValidateParams
from videossr.ingest.params import IngestParams
from videossr.report import ReportParams
from videossr.train.params import TrainParams


@dataclass(frozen=True)
class Recipe:
    """The seven sections of a params file, and what must hold between them."""

    ingest: IngestParams
    frames: FramesParams
    pretext: PretextParams
    validate: ValidateParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams

    def __post_init__(self) -> None:
        stored = self.frames.num_frames
        for task in ("grounding", "counting"):
            shown = getattr(self.pretext, task).num_frames
            if stored % shown:
                raise ConfigError(
                    f"frames.num_frames must be a multiple of pretext.{task}.num_frames, got {stored} and {shown}"
                )


def load_recipe(path: Path) -> Recipe:
    """Read a params file and check all of it. Raises ConfigError with the first fault."""
    return config.build(Recipe, config.load(path), path.name)
