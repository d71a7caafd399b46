"""Decoded frames have the orientation that a player shows, and square pixels."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import decode_all_frames, set_display_matrix, write_motion_jpeg, write_video
from videossr.decode import decode, probe_video, read_frames
from videossr.errors import DecodeError


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_videos_are_decoded_upright(tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "rotated.mp4", 20, rotation=rotation)
    info = probe_video(path)
    assert (info.height, info.width) == ((96, 64) if rotation % 180 else (64, 96))
    clip = decode(path, info.times[4:8], size=(info.height, info.width))
    # The display matrix gives the counterclockwise rotation of the stored frame.
    stored = decode_all_frames(path)[4:8]
    np.testing.assert_array_equal(clip.frames, [np.rot90(frame, rotation // 90) for frame in stored])
    by_decord = decode(path, info.times[4:8], size=(info.height, info.width), decoder="decord")
    assert np.abs(by_decord.frames.astype(int) - clip.frames).mean() < 3


# The display matrix (a, b, c, d), which shows the stored pixel (x, y) at (a x + c y, b x + d y), and the same operation
# in numpy.
DISPLAY_MATRICES = {
    "upright": ((1, 0, 0, 1), lambda frame: frame),
    "empty matrix": ((0, 0, 0, 0), lambda frame: frame),
    "scaled by half": ((0.5, 0, 0, 0.5), lambda frame: frame),
    "rotated by less than a degree": ((1, 0.008, -0.008, 1), lambda frame: frame),
    "rotated clockwise by 90 degrees": ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
    "rotated by 180 degrees": ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    "rotated clockwise by 270 degrees": ((0, -1, 1, 0), lambda frame: np.rot90(frame)),
    "flipped horizontally": ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
    "flipped vertically": ((1, 0, 0, -1), lambda frame: frame[::-1]),
    "transposed": ((0, 1, 1, 0), lambda frame: frame.swapaxes(0, 1)),
    "transposed and rotated by 180 degrees": ((0, -1, -1, 0), lambda frame: np.rot90(frame, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", DISPLAY_MATRICES)
def test_frames_are_rotated_and_mirrored_by_the_display_matrix(tmp_path: Path, name: str) -> None:
    matrix, apply_matrix = DISPLAY_MATRICES[name]
    path = set_display_matrix(write_video(tmp_path / "a.mp4", 20), matrix)
    info, frame_numbers = probe_video(path), np.arange(4, 20, 5)
    frames = np.stack([apply_matrix(frame) for frame in np.stack(decode_all_frames(path))[frame_numbers]])
    size = (info.height, info.width)
    np.testing.assert_array_equal(decode(path, info.times[frame_numbers], size=size).frames, frames)
    mirrored = np.linalg.det(np.reshape(matrix, (2, 2))) < 0
    assert info.orientation.is_mirrored == mirrored
    if mirrored:  # decord rotates instead of mirroring, or ignores the matrix
        with pytest.raises(DecodeError, match="unsupported: .*mirror"):
            decode(path, info.times[frame_numbers], size=size, decoder="decord")
    else:
        by_decord = decode(path, info.times[frame_numbers], size=size, decoder="decord").frames
        assert np.abs(by_decord.astype(int) - frames).mean() < 3
    checked, choice = read_frames(path, info, frame_numbers, size, "auto", check=True)
    np.testing.assert_array_equal(checked, frames)
    assert choice.reader == "pyav_seeking" and choice.wrong == ()


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_frames_of_motion_jpeg_are_rotated_by_their_exif_orientation(
    tmp_path: Path, orientation: int, quarter_turns: int
) -> None:
    path = write_motion_jpeg(tmp_path / "camera.mov", 10, orientation)
    info = probe_video(path)
    assert (info.height, info.width) == ((96, 64) if quarter_turns % 2 else (64, 96))
    frames = decode(path, info.times[2:5], size=(info.height, info.width)).frames
    np.testing.assert_array_equal(frames, [np.rot90(frame, quarter_turns) for frame in decode_all_frames(path)[2:5]])


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (1, 0, 1, 0), (1, 0.1, 0, 1)])
def test_a_slanted_display_matrix_rejects_the_file(tmp_path: Path, matrix: tuple[float, float, float, float]) -> None:
    path = set_display_matrix(write_video(tmp_path / "a.mp4", 20), matrix)
    with pytest.raises(DecodeError, match="unsupported: .*display matrix"):
        probe_video(path)


def test_the_pixel_aspect_widens_the_displayed_size(tmp_path: Path) -> None:
    info = probe_video(write_video(tmp_path / "wide.mp4", 10, aspect=Fraction(4, 3)))
    assert (info.height, info.width) == (64, 128)
