"""The params section `report`."""

from dataclasses import dataclass

from videossr.errors import ConfigError


@dataclass(frozen=True)
class ReportParams:
    """Params section `report`: the title of the page, the size of contact sheets, the seed that chooses samples.

    `gallery_samples` is the number of samples of each set that the gallery shows.
    """

    title: str = "VideoSSR"
    frames_per_strip: int = 16
    thumbnail_pixels: int = 112
    seed: int = 0
    gallery_samples: int = 60

    def __post_init__(self) -> None:
        if not 2 <= self.frames_per_strip <= 64:
            raise ConfigError(f"frames_per_strip must be 2..64, got {self.frames_per_strip}")
        if not 16 <= self.thumbnail_pixels <= 1024:
            raise ConfigError(f"thumbnail_pixels must be 16..1024, got {self.thumbnail_pixels}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        if self.gallery_samples < 1:
            raise ConfigError(f"gallery_samples must be at least 1, got {self.gallery_samples}")
