"""A probe returns the presentation times and the size of a video, or the reason for which it is rejected."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import KINDS, write_audio, write_black, write_video, write_with_many_streams
from videossr.decode import REASONS, presentation_times, probe_video
from videossr.decode.file_guard import require_unchanged
from videossr.errors import DecodeError


def test_the_probe_returns_codec_size_frame_rate_and_duration(videos: dict[str, Path]) -> None:
    info = probe_video(videos["vp9.webm"])
    assert (info.codec, info.width, info.height, len(info.times)) == ("vp9", 96, 64, 80)
    assert info.fps == pytest.approx(25, rel=1e-3) and info.duration_seconds == pytest.approx(3.2, rel=1e-3)


@pytest.mark.parametrize("name", ["h264_vfr.mp4", "h264_gap.mp4", "h264_offset.ts", "h264_late_start.mkv"])
def test_presentation_times_are_exact_and_start_at_zero(videos: dict[str, Path], name: str) -> None:
    ticks = np.array(KINDS[name]["ticks_ms"]) / 1000
    np.testing.assert_allclose(presentation_times(videos[name]), ticks - ticks[0], atol=6e-4)


def write_unreadable_files(folder: Path) -> dict[str, str]:
    """Write the files and return the expected reason of each, by file name."""
    video = write_video(folder / "whole.mp4", 30).read_bytes()
    (folder / "text.mp4").write_text("this is not a video\n" * 40)
    (folder / "playlist.ts").write_text("#EXTM3U\n#EXTINF:1\nwhole.mp4\n")
    (folder / "empty.mov").write_bytes(b"")
    (folder / "half.mp4").write_bytes(video[: len(video) // 2])
    write_audio(folder / "audio.mp4")
    return {
        "text.mp4": "not_a_video",
        "playlist.ts": "not_a_video",
        "empty.mov": "not_a_video",
        "half.mp4": "not_a_video",
        "audio.mp4": "no_video_stream",
        "absent.mp4": "unreadable",
    }


def test_an_unreadable_file_raises_its_reason(tmp_path: Path) -> None:
    for name, reason in write_unreadable_files(tmp_path).items():
        with pytest.raises(DecodeError) as caught:
            probe_video(tmp_path / name)
        assert (name, caught.value.reason) == (name, reason)
        assert reason in REASONS


def test_file_names_that_look_like_protocols_or_patterns_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", 'it\'s "%03d".mp4', "new\nline.mp4", "http:..mp4"):
        write_video(tmp_path / "plain.mp4", 10).rename(tmp_path / name)
        assert len(presentation_times(Path(name))) == 10


def test_decompression_bombs_are_rejected_before_decoding(tmp_path: Path) -> None:
    three_hours = 3 * 3600 * 1000
    bombs = {
        write_with_many_streams(tmp_path / "streams.mp4", 120): "too_many_streams",
        write_video(tmp_path / "long.mkv", 12, ticks_ms=[three_hours * i for i in range(12)]): "too_long",
        write_black(tmp_path / "huge.mov", 1, 8200, 8200, "png", "gray"): "too_large",
    }
    for path, reason in bombs.items():
        with pytest.raises(DecodeError) as caught:
            probe_video(path)
        assert (path.name, caught.value.reason) == (path.name, reason)


def test_a_file_that_changes_while_it_is_read_raises_an_error(tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(b"half")
    with require_unchanged(path):
        path.read_bytes()
    for change in (
        lambda: path.write_bytes(b"whole"),
        lambda: path.rename(tmp_path / "old") and path.write_bytes(b"whole"),
    ):
        with pytest.raises(DecodeError, match="changed_while_read"), require_unchanged(path):
            change()
            raise DecodeError("corrupt")
