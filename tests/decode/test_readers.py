"""Which reader reads a file, what it is checked against, and what follows where readers disagree."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import KINDS, SIZE, cut_without_encoding, read_number
from videossr.decode import Reading, decode, presentation_times, probe, read_frames
from videossr.decode.pyav_reader import read_around, read_in_order, read_seeking
from videossr.decode.readers import checked_alone, settled
from videossr.errors import DecodeError

READ_BY_DECORD = {"h264_b_frames.mp4", "h264_one_gop.mp4", "h264.mkv", "h264_vfr.mp4", "h264_gap.mp4", "vp9.webm"}


@pytest.mark.parametrize("name", KINDS)
def test_decord_reads_the_same_frames_or_refuses(videos: dict[str, Path], name: str) -> None:
    times = presentation_times(videos[name])
    try:
        clip = decode(videos[name], times[2:80:11], size=SIZE, decoder="decord")
    except DecodeError as error:
        assert error.reason == "unsupported" and name not in READ_BY_DECORD
    else:
        assert [read_number(frame) for frame in clip.frames] == list(range(2, 80, 11))


def test_decord_is_refused_where_it_disagrees_with_the_container(videos: dict[str, Path], tmp_path: Path) -> None:
    cut = cut_without_encoding(videos["h264_b_frames.mp4"], tmp_path / "cut.mp4", first_ms=400)
    with pytest.raises(DecodeError, match="unsupported"):
        decode(cut, presentation_times(cut)[:3], size=SIZE, decoder="decord")


@pytest.mark.parametrize("name", KINDS)
def test_two_readers_agree_or_a_full_decode_settles_it(videos: dict[str, Path], name: str) -> None:
    probed, index = probe(videos[name]), np.arange(2, 80, 11)
    frames, reading = read_frames(videos[name], probed, index, SIZE, "auto", check=True)
    assert [read_number(frame) for frame in frames] == index.tolist()
    in_order = probed.container in ("avi", "mpegts")
    assert reading.reader == ("pyav_in_order" if in_order else "pyav_seeking") and reading.wrong == ()
    assert probed.codec in reading.why and "agrees" in reading.why


def test_the_reader_that_was_wrong_is_named_and_its_frames_are_not_used(videos: dict[str, Path]) -> None:
    path, index = videos["h264_b_frames.mp4"], np.arange(5, 75, 7)
    probed = probe(path)
    right, shifted = (read_in_order(path, probed, numbers, SIZE) for numbers in (index, index + 1))
    darker = (right * 0.8).astype(np.uint8)  # another scaling or colour is no other frame
    for first, other, wrong in (
        (shifted, right, ("pyav_seeking",)),
        (right, shifted, ("decord",)),
        (shifted, shifted, ("pyav_seeking", "decord")),
        (darker, right, ()),
        (shifted, None, ("pyav_seeking",)),
    ):
        frames, reading = settled(path, probed, index, SIZE, first, other, Reading("pyav_seeking", "a test"))
        assert reading.wrong == wrong
        assert [read_number(frame) for frame in frames] == index.tolist()
        assert (reading.reader == "pyav_in_order") == ("pyav_seeking" in wrong)


ALONE = ("av1.mp4", "h264_open_gop.mp4", "hevc_open_gop.mp4")  # decord reads none of them


@pytest.mark.parametrize("name", ALONE)
def test_a_long_file_that_no_second_reader_reads_is_checked_in_places_not_decoded_whole(
    videos: dict[str, Path], name: str
) -> None:
    path, index, first = videos[name], np.arange(5, 75, 4), Reading("pyav_seeking", "a test")
    probed = probe(path)
    too_little = 72 * probed.width * probed.height  # the last frame that is wanted is the 74th
    right, shifted = (read_in_order(path, probed, numbers, SIZE) for numbers in (index, index + 1))
    frames, reading = checked_alone(path, probed, index, SIZE, right, first, too_little)
    assert frames is right and reading.reader == "pyav_seeking" and reading.wrong == ()
    assert "in order around" in reading.why and "agrees" in reading.why
    frames, reading = checked_alone(path, probed, index, SIZE, shifted, first, too_little)
    assert reading.reader == "pyav_in_order" and reading.wrong == ("pyav_seeking",)
    assert [read_number(frame) for frame in frames] == index.tolist()


def test_a_long_file_that_nobody_can_check_is_kept_and_the_reading_says_so(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    index, first = np.arange(45, 75, 7), Reading("pyav_seeking", "a test")
    one_gop, many = videos["h264_one_gop.mp4"], videos["h264_open_gop.mp4"]
    data = bytearray(many.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "rot.mp4").write_bytes(data)
    for path, why in ((one_gop, "too long to be decoded"), (tmp_path / "rot.mp4", "corrupt")):
        probed = probe(path)
        seen = np.zeros((len(index), *SIZE, 3), np.uint8)
        frames, reading = checked_alone(path, probed, index, SIZE, seen, first, 72 * probed.width * probed.height)
        assert frames is seen and reading.reader == "pyav_seeking"
        assert "nobody could check it" in reading.why and why in reading.why


def test_what_was_decoded_in_order_is_not_decoded_in_order_again(videos: dict[str, Path], tmp_path: Path) -> None:
    path, index = tmp_path / "gone.ts", np.arange(2, 80, 11)
    probed = probe(videos["h264.ts"])
    seen = np.zeros((len(index), *SIZE, 3), np.uint8)
    frames, reading = checked_alone(path, probed, index, SIZE, seen, Reading("pyav_in_order", "a test"))
    assert frames is seen and reading.reader == "pyav_in_order" and reading.wrong == ()


@pytest.mark.parametrize("name", [name for name in KINDS if not name.endswith((".avi", ".ts"))])
def test_frames_decoded_from_well_before_are_those_of_a_full_decode(videos: dict[str, Path], name: str) -> None:
    probed = probe(videos[name])
    for number in (0, 1, 24, 41, 79):
        frames = read_around(videos[name], probed, number, SIZE)
        assert {near: read_number(frame) for near, frame in frames.items()} == {
            near: near for near in (number - 1, number, number + 1) if 0 <= near < 80
        }


def test_readers_that_nothing_settles_quarantine_the_file(videos: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(videos["h264_one_gop.mp4"].read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "rot.mp4").write_bytes(data)
    probed, index = probe(tmp_path / "rot.mp4"), np.arange(5, 75, 7)
    some = np.zeros((len(index), *SIZE, 3), np.uint8)
    with pytest.raises(DecodeError, match="readers_disagree"):
        settled(tmp_path / "rot.mp4", probed, index, SIZE, some, some + 90, Reading("pyav_seeking", "a test"))


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "h264_open_gop.mp4", "hevc_open_gop.mp4", "vp9.webm", "av1.mp4"])
def test_seeking_needs_no_second_reading(videos: dict[str, Path], name: str) -> None:
    """A fast path that always falls back would pass every other test here."""
    probed = probe(videos[name])
    assert read_seeking(videos[name], probed, np.arange(5, 80, 7), SIZE) is not None
