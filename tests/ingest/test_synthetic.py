"""Made videos are real files, depend on their number and seed alone, and follow the conventions that the tasks need."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from videossr.decode import probe_video
from videossr.errors import ConfigError
from videossr.ingest.synthetic import SyntheticParams, draw_video, make_videos

SMALL = SyntheticParams(num_videos=3, min_seconds=2.0, max_seconds=3.0, size_pixels=64, fps=10)
DEFAULT = SyntheticParams()


@pytest.fixture(scope="module")
def drawn_videos() -> list[np.ndarray]:
    return [
        draw_video(SyntheticParams(min_seconds=3, max_seconds=3, fps=8, size_pixels=64), 0, n).astype(float)
        for n in range(30)
    ]


def test_the_bytes_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    one = make_videos(SMALL, 7, tmp_path / "one", workers=1)
    two = make_videos(SMALL, 7, tmp_path / "two", workers=2)
    again = make_videos(SMALL, 7, tmp_path / "again", workers=1)
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in again]
    other = make_videos(SMALL, 8, tmp_path / "other", workers=1)
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert len({p.read_bytes() for p in [*one, *other]}) == 6


def test_made_videos_are_h264_files_of_the_given_size_and_duration(tmp_path: Path) -> None:
    for path in make_videos(SMALL, 0, tmp_path / "made", workers=1):
        info = probe_video(path)
        assert (info.codec, info.width, info.height) == ("h264", 64, 64)
        assert info.fps == pytest.approx(10) and 1.9 <= info.duration_seconds <= 3.1


def test_making_videos_again_removes_the_earlier_ones(tmp_path: Path) -> None:
    make_videos(SMALL, 0, tmp_path / "made", workers=1)
    make_videos(
        SyntheticParams(num_videos=1, min_seconds=2, max_seconds=2, size_pixels=64), 0, tmp_path / "made", workers=1
    )
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["made-00000.mp4"]


def test_the_default_videos_are_long_enough_for_48_frames() -> None:
    assert 0.9 * DEFAULT.min_seconds * DEFAULT.fps - 1 > 48


def test_up_and_down_differ(drawn_videos: list[np.ndarray]) -> None:
    for frames in drawn_videos:
        luma = frames.mean(axis=(0, 2, 3))
        assert luma[:20].mean() > luma[-20:].mean() + 15


def test_left_and_right_differ(drawn_videos: list[np.ndarray]) -> None:
    for frames in drawn_videos:
        luma = frames.mean(axis=(0, 1, 3))
        assert luma[:20].mean() > luma[-20:].mean() + 8


def test_red_and_blue_differ(drawn_videos: list[np.ndarray]) -> None:
    for frames in drawn_videos:
        blueness = (frames[..., 2] - frames[..., 0]).mean(axis=(0, 2))
        assert blueness[:16].mean() > 5 and blueness[-16:].mean() < -20


def test_light_fades_so_time_has_a_direction(drawn_videos: list[np.ndarray]) -> None:
    for frames in drawn_videos:
        light = frames.mean(axis=(1, 2, 3))
        eighths = [part.mean() for part in np.array_split(light, 8)]
        assert np.all(np.diff(eighths) < 0)


def test_every_frame_moves_and_no_two_videos_look_alike(drawn_videos: list[np.ndarray]) -> None:
    for frames in drawn_videos:
        assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 1.5
    middles = np.stack([frames[len(frames) // 2] for frames in drawn_videos])
    apart = np.abs(middles[:, None] - middles[None]).mean(axis=(2, 3, 4))
    assert apart[~np.eye(len(drawn_videos), dtype=bool)].min() > 12


@pytest.mark.parametrize(
    "wrong", [{"num_videos": 0}, {"min_seconds": 9.0}, {"min_seconds": 0.0}, {"size_pixels": 65}, {"fps": 0}]
)
def test_parameters_out_of_range_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SyntheticParams(**wrong)


def test_camera_noise_changes_every_frame_and_nothing_of_the_scene() -> None:
    quiet = SyntheticParams(num_videos=1, min_seconds=1.0, max_seconds=1.0, size_pixels=32)
    clean, noisy = draw_video(quiet, 0, 0), draw_video(replace(quiet, camera_noise=6.0), 0, 0)
    difference = noisy.astype(float) - clean
    assert difference.std(axis=(1, 2, 3)) == pytest.approx(np.full(len(clean), 6.0), abs=1.0)
    assert abs(difference.mean()) < 0.5
    with pytest.raises(ConfigError, match="camera_noise must be 0 to 64 grey levels, got -1"):
        SyntheticParams(camera_noise=-1.0)
