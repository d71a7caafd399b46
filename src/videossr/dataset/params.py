"""The params section `pretext`: each task's parameters, the mixture of the training set, the size of VIUBench."""

from dataclasses import dataclass, field

from videossr.errors import ConfigError
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw, PretextTask

# VideoSSR-30K: 4 x 3,000 grounding, 6,000 counting, 12,000 jigsaw. The paper does not name the counting variant. Its
# jigsaws have six clips, the easier variant, so the easy counting variant is assumed.
VIDEOSSR_30K = {
    "grounding/channel_swap": 0.1,
    "grounding/mirror": 0.1,
    "grounding/zoom_out": 0.1,
    "grounding/rotate_180": 0.1,
    "counting/easy": 0.2,
    "jigsaw/6": 0.4,
}

VIUBENCH = (
    "counting/easy",
    "counting/hard",
    "grounding/channel_swap",
    "grounding/rotate_180",
    "grounding/zoom_out",
    "grounding/mirror",
    "grounding/shuffle",
    "jigsaw/6",
    "jigsaw/8",
)


@dataclass(frozen=True)
class TrainSet:
    """The number of training samples, and the shares of each "task/variant" (only their proportions matter)."""

    num_samples: int = 30000
    mixture: dict[str, float] = field(default_factory=lambda: dict(VIDEOSSR_30K))

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError(f"num_samples must be at least 1, got {self.num_samples}")
        if not self.mixture or any(share < 0 for share in self.mixture.values()) or sum(self.mixture.values()) <= 0:
            raise ConfigError(f"mixture needs shares of at least 0 and one above 0, got {self.mixture}")
        for kind in self.mixture:
            task, _, variant = kind.partition("/")
            if task not in TASKS or variant not in TASKS[task].variants:
                known = ", ".join(f"{name}/{v}" for name, cls in TASKS.items() for v in cls.variants)
                raise ConfigError(f"mixture names an unknown kind '{kind}': accepted are {known}")


@dataclass(frozen=True)
class BenchSet:
    """The number of questions in each of VIUBench's nine columns (the paper: 300), and how visible an edit must be.

    A question whose edit differs less than `min_difference` (mean absolute difference, 0..255) from the unedited clip
    is drawn again; 0 keeps all. It should be at least the gate's `validate.perceptible_difference`.
    """

    per_column: int = 300
    min_difference: float = 1.0

    def __post_init__(self) -> None:
        if self.per_column < 1:
            raise ConfigError(f"per_column must be at least 1, got {self.per_column}")
        if not 0 <= self.min_difference <= 255:
            raise ConfigError(f"min_difference must be in 0..255, got {self.min_difference}")


@dataclass(frozen=True)
class PretextParams:
    """Params section `pretext`: the seed, each task's parameters, the training set and VIUBench."""

    seed: int = 0
    grounding: Grounding = field(default_factory=Grounding)
    counting: Counting = field(default_factory=Counting)
    jigsaw: Jigsaw = field(default_factory=Jigsaw)
    train: TrainSet = field(default_factory=TrainSet)
    viubench: BenchSet = field(default_factory=BenchSet)

    @property
    def tasks(self) -> dict[str, PretextTask]:
        """The tasks by name, with these parameters."""
        return {"grounding": self.grounding, "counting": self.counting, "jigsaw": self.jigsaw}
