"""The `ingest` section of a run."""

from dataclasses import dataclass

from videossr.errors import ConfigError
from videossr.ingest.remote import is_url, refuse_secrets
from videossr.parallel import Limits


@dataclass(frozen=True)
class IngestParams:
    """`source` is a folder of videos, a list of paths (.txt, .parquet), the URL of a folder (s3://bucket/videos), or a
    YAML file of `SynthParams` that describes videos to be made with `seed`.
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
            refuse_secrets(self.source)
