"""Every file that lies beside the project is stored exactly as a full decode shows it, or has a listed reason."""

from pathlib import Path

import pytest

from bench.exactness import compare_file
from tests.support import SHARED
from tests.support.videos import B_FRAMES, write_video
from videossr.decode import REASONS
from videossr.ingest.listing import VIDEO_SUFFIXES

STORED = [
    path
    for folder in (SHARED / "videos", SHARED / "faults/videos")
    for path in sorted(folder.rglob("*"))
    if path.suffix.lower() in VIDEO_SUFFIXES
]


def test_an_exact_file_has_no_wrong_frame_and_another_has(tmp_path: Path) -> None:
    row = compare_file(write_video(tmp_path / "a.mp4", 60, options=B_FRAMES), tmp_path, 20)
    assert (row.shown_frames, row.stored_frames, row.wrong_frames, row.wrong_times) == (60, 20, 0, 0)
    (tmp_path / "b.mp4").write_text("no video")
    assert compare_file(tmp_path / "b.mp4", tmp_path, 20).rejected.startswith("not_a_video: ")


@pytest.mark.slow
@pytest.mark.skipif(not STORED, reason="no videos beside the project")
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_a_stored_file_is_exact(path: Path) -> None:
    row = compare_file(path, path.parent, 12)
    assert row.rejected.split(":")[0] in ("", *REASONS)
    assert (row.wrong_frames, row.wrong_times) == (0, 0)
