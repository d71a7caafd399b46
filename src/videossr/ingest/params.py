"""The `ingest` section of a run."""

import math
from dataclasses import dataclass

from videossr.errors import ConfigError
from videossr.ingest.remote import is_url, require_no_secret
from videossr.ingest.windows import Windows
from videossr.parallel import Limits

_SHORTEST_SECONDS = 0.1


@dataclass(frozen=True)
class IngestParams:
    """`source` is a folder of videos, a list of paths (.txt, .parquet), the URL of a folder (s3://bucket/videos), or a
    YAML file of `SyntheticParams` that describes videos to make with `seed`. `limits` bound the inspection of one file.
    `licence` says under which terms the videos may be used; it is shown with every model that was trained on them.

    With `window_seconds`, a longer video is cut into windows of this length, and each is a video of its own. They start
    `window_stride_seconds` apart (None: the length of a window, so that they do not overlap).
    """

    source: str
    seed: int = 0
    bench_fraction: float = 0.3
    limits: Limits = Limits()
    window_seconds: float | None = None
    window_stride_seconds: float | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.bench_fraction < 1:
            raise ConfigError(f"bench_fraction must lie between 0 and 1, got {self.bench_fraction}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        if is_url(self.source):
            require_no_secret(self.source)
        self._check_windows()

    def _check_windows(self) -> None:
        if self.window_seconds is None and self.window_stride_seconds is not None:
            raise ConfigError(
                f"window_stride_seconds needs window_seconds, the length of a window, got {self.window_stride_seconds} "
                "without it: set window_seconds too"
            )
        for name in ("window_seconds", "window_stride_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not (math.isfinite(seconds) and seconds >= _SHORTEST_SECONDS):
                raise ConfigError(f"{name} must be at least {_SHORTEST_SECONDS}, got {seconds}")

    @property
    def windows(self) -> Windows | None:
        """The windows that a long video is cut into; None where videos stay whole."""
        if self.window_seconds is None:
            return None
        stride = self.window_seconds if self.window_stride_seconds is None else self.window_stride_seconds
        return Windows(round(1000 * self.window_seconds), round(1000 * stride))
