"""Pictures come out as a player shows them: turned, mirrored, with square pixels."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import every_frame, with_display_matrix, write_photos, write_video
from videossr.decode import decode, probe_video, read_frames
from videossr.errors import DecodeError


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_videos_come_out_upright(tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "turned.mp4", 20, rotation=rotation)
    info = probe_video(path)
    assert (info.height, info.width) == ((96, 64) if rotation % 180 else (64, 96))
    clip = decode(path, info.times[4:8], size=(info.height, info.width))
    # The display matrix says how far to turn the stored picture counterclockwise.
    stored = every_frame(path)[4:8]
    np.testing.assert_array_equal(clip.frames, [np.rot90(frame, rotation // 90) for frame in stored])
    by_decord = decode(path, info.times[4:8], size=(info.height, info.width), decoder="decord")
    assert np.abs(by_decord.frames.astype(int) - clip.frames).mean() < 3


# A stored place (x, y) is shown at (a x + c y, b x + d y): the matrix a b c d, and what it makes of the picture.
STANCES = {
    "upright": ((1, 0, 0, 1), lambda picture: picture),
    "of an empty matrix": ((0, 0, 0, 0), lambda picture: picture),
    "half as large": ((0.5, 0, 0, 0.5), lambda picture: picture),
    "hardly askew": ((1, 0.008, -0.008, 1), lambda picture: picture),
    "a quarter turned": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "half turned": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "three quarters turned": ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
    "right to left": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "mirrored, then turned": ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    "turned, then mirrored": ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", STANCES)
def test_pictures_are_turned_and_mirrored_as_the_display_matrix_says(tmp_path: Path, name: str) -> None:
    matrix, stood = STANCES[name]
    path = with_display_matrix(write_video(tmp_path / "a.mp4", 20), matrix)
    info, index = probe_video(path), np.arange(4, 20, 5)
    frames = np.stack([stood(frame) for frame in np.stack(every_frame(path))[index]])
    size = (info.height, info.width)
    np.testing.assert_array_equal(decode(path, info.times[index], size=size).frames, frames)
    mirrored = np.linalg.det(np.reshape(matrix, (2, 2))) < 0
    assert info.orientation.is_mirrored == mirrored
    if mirrored:  # decord rotates instead of mirroring, or ignores the matrix
        with pytest.raises(DecodeError, match="unsupported: .*mirror"):
            decode(path, info.times[index], size=size, decoder="decord")
    else:
        by_decord = decode(path, info.times[index], size=size, decoder="decord").frames
        assert np.abs(by_decord.astype(int) - frames).mean() < 3
    checked, choice = read_frames(path, info, index, size, "auto", check=True)
    np.testing.assert_array_equal(checked, frames)
    assert choice.reader == "pyav_seeking" and choice.wrong == ()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_pictures_are_turned_as_a_camera_says_in_each(tmp_path: Path, orientation: int, turns: int) -> None:
    path = write_photos(tmp_path / "camera.mov", 10, orientation)
    info = probe_video(path)
    assert (info.height, info.width) == ((96, 64) if turns % 2 else (64, 96))
    frames = decode(path, info.times[2:5], size=(info.height, info.width)).frames
    np.testing.assert_array_equal(frames, [np.rot90(frame, turns) for frame in every_frame(path)[2:5]])


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (1, 0, 1, 0), (1, 0.1, 0, 1)])
def test_a_picture_that_no_quarter_turn_sets_upright_is_refused(
    tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    path = with_display_matrix(write_video(tmp_path / "a.mp4", 20), matrix)
    with pytest.raises(DecodeError, match="unsupported: .*display matrix"):
        probe_video(path)


def test_pixels_that_are_not_square_widen_the_picture(tmp_path: Path) -> None:
    info = probe_video(write_video(tmp_path / "wide.mp4", 10, aspect=Fraction(4, 3)))
    assert (info.height, info.width) == (64, 128)
