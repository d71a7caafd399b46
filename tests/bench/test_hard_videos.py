"""The hard videos of the measurement: copies that their containers take, and none that they store as data."""

import shutil
from pathlib import Path

from bench.hard_videos import CHANGES, write_changed
from tests.support.videos import B_FRAMES, decode_all_frames, write_video


def test_a_copy_is_written_where_the_container_takes_the_codec(tmp_path: Path) -> None:
    source = write_video(tmp_path / "vp9.webm", 50, codec="libvpx-vp9", options={"g": "20", "deadline": "realtime"})
    assert write_changed(CHANGES["copied"], source, tmp_path / "copied" / "vp9.mkv")
    assert not write_changed(CHANGES["copied"], source, tmp_path / "copied" / "vp9.ts")
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["vp9.mkv"]


def test_each_change_leaves_a_file_that_shows_frames(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.ts", 60, options=B_FRAMES)
    shown = {}
    for name, change in CHANGES.items():
        folder = tmp_path / name
        assert write_changed(change, source, folder / "a.mkv")
        shown[name] = len(decode_all_frames(folder / "a.mkv"))
        shutil.rmtree(folder)
    assert shown["copied"] == shown["decoding_times"] == shown["all_keyframes"] == 60
    assert shown["joined"] == 120 and 20 < shown["starts_late"] < 60
