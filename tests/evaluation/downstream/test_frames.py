"""The frames that a question shows: number, bounds, size, true times; files and folders of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.videos import numbered_frames, read_number, write_video
from videossr.errors import ConfigError, DecodeError
from videossr.evaluation.benchmarks import Item, VideoRef
from videossr.evaluation.downstream import FrameBudget, load_clips
from videossr.evaluation.downstream.frames import choose_times

SMALL = FrameBudget(num_frames=8, min_pixels=1024)


def item(*videos: VideoRef) -> Item:
    return Item("q", videos, "What?", "A", ("A", "B"), ("a", "b"))


def chosen(times: np.ndarray, limit: int, fps: float = 2.0, start: float | None = None, end: float | None = None):
    return times[choose_times(times, VideoRef("v", start, end), limit, fps)].tolist()


@pytest.mark.parametrize(
    ("seconds", "limit", "expected"),
    [(10, 64, 20), (100, 32, 32), (7.4, 64, 14), (0.5, 64, 4), (0.08, 64, 2), (0.04, 64, 1), (10, 7, 6)],
)
def test_frames_at_two_a_second_an_even_number_within_the_limit(seconds, limit, expected):
    times = np.arange(round(seconds * 25)) / 25
    shown = chosen(times, limit)
    assert len(shown) == expected and shown[0] == 0.0
    assert expected < 2 or shown[-1] == times[-1], "the last frame is kept"
    assert np.all(np.diff(shown) > 0)


def test_bounds_include_their_frames_and_the_times_are_those_of_the_whole_video():
    times = np.arange(500) / 25
    shown = chosen(times, 64, start=4.0, end=10.0)
    assert shown[0] == 4.0 and shown[-1] == 10.0 and len(shown) == 12


def test_bounds_without_a_frame_are_an_error_of_the_video():
    with pytest.raises(DecodeError, match="too_short: no frame between 30 and 40 s, the last one is at 3.96 s"):
        chosen(np.arange(100) / 25, 8, start=30.0, end=40.0)


def test_uneven_times_stay_true(tmp_path):
    ticks = [i * i + 20 * i for i in range(80)]
    path = tmp_path / "vfr.mp4"
    write_video(path, num_frames=80, ticks_ms=ticks)
    (clip,) = load_clips(item(VideoRef("vfr.mp4")), [path], SMALL)
    numbers = [read_number(frame) for frame in clip.frames]
    assert clip.times.tolist() == pytest.approx([ticks[n] / 1000 for n in numbers], abs=1e-3)
    assert numbers[0] == 0 and numbers[-1] == 79 and len(numbers) == 8


@pytest.mark.parametrize(("shared", "expected"), [(False, [6, 6]), (True, [4, 4])])
def test_several_videos_have_all_frames_each_or_share_them(tmp_path, shared, expected):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=80)
    budget = FrameBudget(num_frames=8, min_pixels=1024, shared=shared)
    clips = load_clips(item(VideoRef("a.mp4"), VideoRef("a.mp4")), [path, path], budget)
    assert [len(clip) for clip in clips] == expected and clips[0] is clips[1], "the same video is read once"


def test_frames_fit_the_pixels_of_the_budget(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=30, height=128, width=192)
    for most, size in ((64 * 96, (64, 96)), (512 * 512, (128, 192))):
        budget = FrameBudget(num_frames=4, max_pixels=most, min_pixels=1024)
        assert load_clips(item(VideoRef("a.mp4")), [path], budget)[0].frames.shape == (4, *size, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten numbered pictures at 3 a second from 00001.jpg, without the fourth."""
    for number, frame in enumerate(numbered_frames(10), start=1):
        if number != 4:
            cv2.imwrite(str(tmp_path / f"{number:05d}.jpg"), frame[..., ::-1])
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_a_folder_of_pictures_is_read_in_the_order_of_their_numbers(folder):
    (clip,) = load_clips(item(VideoRef("f", frames_per_second=3.0)), [folder], SMALL)
    numbers = [read_number(frame) for frame in clip.frames]
    assert numbers[0] == 0 and numbers[-1] == 9 and 3 not in numbers
    assert clip.times.tolist() == pytest.approx([number / 3 for number in numbers])
    bounded = load_clips(item(VideoRef("f", 1.0, 2.0, 3.0)), [folder], SMALL)[0]
    assert bounded.times.tolist() == pytest.approx([4 / 3, 2.0]) or bounded.times[-1] == pytest.approx(2.0)


def test_a_folder_with_a_damaged_picture_or_none_is_an_error_of_the_video(folder, tmp_path):
    (folder / "00010.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(DecodeError, match="corrupt: the picture 00010.jpg"):
        load_clips(item(VideoRef("f", frames_per_second=3.0)), [folder], SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DecodeError, match="has no numbered pictures"):
        load_clips(item(VideoRef("f", frames_per_second=3.0)), [tmp_path / "empty"], SMALL)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_frames": 1}, "frames must be at least 2, got 1"),
        ({"fps": 0.0}, "fps must be above 0, got 0"),
        ({"max_pixels": 100}, "min_pixels <= max_pixels must hold"),
    ],
)
def test_a_budget_without_meaning_is_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        FrameBudget(**changed)
