"""Fixtures of several test files: a video of every kind, and a source folder with videos and other files."""

from pathlib import Path

import pytest

from tests.support.videos import KINDS, write_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video of each of `KINDS`, 80 numbered frames; tests that damage one take a copy."""
    folder = tmp_path_factory.mktemp("videos")
    return {name: write_video(folder / name, **arguments) for name, arguments in KINDS.items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five good videos of different content in two folders."""
    folder = tmp_path / "my videos"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(["a.mp4", "b.MKV", "c.webm", "deep/d.mov", "deep/er/e.avi"]):
        codec = "libvpx" if name.endswith("webm") else "mpeg4" if name.endswith("avi") else "libx264"
        options = {} if codec != "libx264" else {"preset": "ultrafast"}
        kind = "matroska" if name.endswith("MKV") else None
        path = folder / name
        write_video(path, 30 + number, height=32, width=32, codec=codec, options=options, container_format=kind)
    (folder / "notes.txt").write_text("no video")
    return folder
