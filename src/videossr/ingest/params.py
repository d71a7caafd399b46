"""The `ingest` section of a run."""

from dataclasses import dataclass

from videossr.errors import ConfigError
from videossr.ingest.remote import is_url, require_no_secret
from videossr.parallel import Limits


@dataclass(frozen=True)
class IngestParams:
    """`source` is a folder of videos, a list of paths (.txt, .parquet), the URL of a folder (s3://bucket/videos), or a
    YAML file of `SyntheticParams` that describes videos to make with `seed`. `limits` bound the inspection of one file.
    """

    source: str
    seed: int = 0
    bench_fraction: float = 0.3
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 < self.bench_fraction < 1:
            raise ConfigError(f"bench_fraction must lie between 0 and 1, got {self.bench_fraction}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        if is_url(self.source):
            require_no_secret(self.source)
