"""The files of a project that commands read and write, relative to its root."""

from pathlib import Path

from videossr.errors import ConfigError

PARAMS = Path("params.yaml")
MADE_VIDEOS = Path("data/made_videos")
FRAMES = Path("data/frames")
MANIFEST = Path("data/manifest.parquet")
TRAIN_SAMPLES = Path("data/samples/train.parquet")
REJECTED, QUARANTINE = Path("data/rejected.parquet"), Path("data/quarantine.parquet")
REPORTS = Path("reports")
RESULTS = REPORTS / "viubench.json"


def require_file(path: Path) -> Path:
    """Return `path`. Raises ConfigError with a remedy when it does not exist."""
    if not path.exists():
        remedy = "run from the project root" if path == PARAMS else "run the pipeline first (make run)"
        raise ConfigError(f"there is no {path} here: {remedy}")
    return path
