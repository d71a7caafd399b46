"""The `pretext` section of a run: each task's parameters, the mixture of the training set, the size of VIUBench."""

from dataclasses import dataclass, field

from videossr.errors import ConfigError
from videossr.pretext import TASKS, Counting, Grounding, Jigsaw, PretextTask

# VideoSSR-30K: 4 x 3,000 grounding, 6,000 counting, 12,000 jigsaw. The paper does not tell the counting variant; the
# jigsaw's six clips are the easy ones, and so is this.
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
    """How many training samples, and their shares by "task/variant" (any positive numbers; only proportions count)."""

    num_samples: int = 30000
    mixture: dict[str, float] = field(default_factory=lambda: dict(VIDEOSSR_30K))

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError(f"num_samples must be at least 1, got {self.num_samples}")
        if not self.mixture or any(share < 0 for share in self.mixture.values()) or sum(self.mixture.values()) <= 0:
            raise ConfigError(f"mixture must hold shares of which none is below 0 and one above, got {self.mixture}")
        for kind in self.mixture:
            task, _, variant = kind.partition("/")
            if task not in TASKS or variant not in TASKS[task].variants:
                known = ", ".join(f"{name}/{v}" for name, cls in TASKS.items() for v in cls.variants)
                raise ConfigError(f"mixture has no puzzle '{kind}': accepted are {known}")


@dataclass(frozen=True)
class BenchSet:
    """How many questions each of VIUBench's nine columns asks (the paper: 300)."""

    per_column: int = 300

    def __post_init__(self) -> None:
        if self.per_column < 1:
            raise ConfigError(f"per_column must be at least 1, got {self.per_column}")


@dataclass(frozen=True)
class PretextParams:
    """The section `pretext`: each task's parameters, and what is made of them."""

    seed: int = 0
    grounding: Grounding = field(default_factory=Grounding)
    counting: Counting = field(default_factory=Counting)
    jigsaw: Jigsaw = field(default_factory=Jigsaw)
    train: TrainSet = field(default_factory=TrainSet)
    viubench: BenchSet = field(default_factory=BenchSet)

    @property
    def tasks(self) -> dict[str, PretextTask]:
        """The tasks by name, as they are parametrised here."""
        return {"grounding": self.grounding, "counting": self.counting, "jigsaw": self.jigsaw}
