"""The params section `downstream`: which benchmarks a run is evaluated on besides its VIUBench, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videossr.errors import ConfigError
from videossr.evaluation.benchmarks import BENCHMARKS
from videossr.evaluation.downstream.frames import FrameBudget
from videossr.evaluation.made_benchmarks import KEYS

MADE = "made"  # instead of a folder: the made benchmarks

PolicyRow = Literal["random", "blind", "before", "after"]


@dataclass(frozen=True)
class DownstreamParams:
    """Params section `downstream`.

    `annotations` is a folder with one of annotations for each key of `benchmarks`, and `videos` one with the videos of
    each; without `videos` they are beside the annotations. `annotations: made` makes three tiny benchmarks with `seed`.
    A video is shown at `fps` frames a second, at most `frames` of them, of `min_pixels` to `max_pixels`. `policies` are
    the rows: a random guess, the trained policy without the video, the policy before and after training. `limit` takes
    the first questions of each benchmark alone. `reply_tokens` shortens the replies that the protocol allows. A model
    that loses significantly on one of `no_loss_on` (None: of `benchmarks`) does not become champion.
    """

    benchmarks: tuple[str, ...] = ()
    annotations: str = MADE
    videos: str | None = None
    protocol: Literal["videossr", "official"] = "videossr"
    frames: int = 32
    fps: float = 2.0
    max_pixels: int = 512 * 512
    min_pixels: int = 128 * 128
    policies: tuple[PolicyRow, ...] = ("random", "blind", "before", "after")
    limit: int | None = None
    reply_tokens: int | None = None
    no_loss_on: tuple[str, ...] | None = None
    batch_size: int = 16
    bootstrap_samples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for key in self.benchmarks:
            self._check_benchmark(key)
        if unknown := set(self.no_loss_on or ()) - set(self.benchmarks):
            raise ConfigError(f"no_loss_on must be among benchmarks ({', '.join(self.benchmarks)}), got {min(unknown)}")
        if self.is_made and self.videos is not None:
            raise ConfigError(f"videos must be left out where annotations are made, got {self.videos}")
        for name in ("benchmarks", "policies"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ConfigError(f"{name} must differ from each other, got {', '.join(values)}")
        if not self.policies:
            raise ConfigError("policies must name at least one row, got none: set benchmarks to [] to skip the stage")
        least = {"limit": 1, "reply_tokens": 1, "batch_size": 1, "bootstrap_samples": 100, "seed": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, got {value}")
        _ = self.budget  # its own checks

    def _check_benchmark(self, key: str) -> None:
        if key == "viubench":
            raise ConfigError("benchmarks must be public ones, got viubench: the stage evaluate has it in any case")
        if key not in BENCHMARKS:
            raise ConfigError(f"benchmarks must be among {', '.join(BENCHMARKS)}, got {key!r}")
        if self.is_made and key not in KEYS:
            raise ConfigError(
                f"made benchmarks are {', '.join(KEYS)}, got {key}: set annotations to the folder of yours"
            )

    @property
    def guarded(self) -> tuple[str, ...]:
        """The benchmarks on which a champion must not have lost significantly."""
        return self.benchmarks if self.no_loss_on is None else self.no_loss_on

    @property
    def is_made(self) -> bool:
        """Whether the benchmarks are made, and not read from a folder."""
        return self.annotations == MADE

    @property
    def budget(self) -> FrameBudget:
        """Which frames of a video are shown."""
        return FrameBudget(self.frames, self.fps, self.max_pixels, self.min_pixels)

    def folders(self, key: str, made: Path) -> tuple[Path, Path]:
        """The folders of annotations and videos of a benchmark; `made` holds the made ones."""
        root = made if self.is_made else Path(self.annotations)
        return root / key, (root if self.videos is None else Path(self.videos)) / key
