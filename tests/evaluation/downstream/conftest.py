"""Three tiny made benchmarks, on disk once for all tests."""

from pathlib import Path

import pytest

from videossr.evaluation.made_benchmarks import make_benchmarks
from videossr.ingest.synthetic import SyntheticParams

SCENES = SyntheticParams(num_videos=6, min_seconds=3.0, max_seconds=4.0, size_pixels=64)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "benchmarks"
    make_benchmarks(folder, 3, SCENES)
    return folder
