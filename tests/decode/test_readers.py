"""Which reader reads a file, how its frames are checked, and which frames are used if two readers disagree."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.videos import KINDS, SIZE, cut_without_encoding, read_number
from videossr.decode import ReaderChoice, decode, presentation_times, probe_video, read_frames
from videossr.decode.pyav_reader import read_in_order, read_seeking
from videossr.decode.readers import check_frames, decide_by_full_decode
from videossr.errors import DecodeError

READ_BY_DECORD = {"h264_b_frames.mp4", "h264_one_gop.mp4", "h264.mkv", "h264_vfr.mp4", "h264_gap.mp4", "vp9.webm"}
READ_IN_ORDER = {"h264.ts", "h264_offset.ts", "h264.avi", "mpeg4_b_frames.avi", "mpeg4.mp4"}


def damage_the_middle(source: Path, target: Path) -> Path:
    """Copy an MP4 file with 400 bytes in the middle of its media data set to zero."""
    data = bytearray(source.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(400)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("name", KINDS)
def test_decord_reads_the_same_frames_or_raises_unsupported(videos: dict[str, Path], name: str) -> None:
    times = presentation_times(videos[name])
    try:
        clip = decode(videos[name], times[2:80:11], size=SIZE, decoder="decord")
    except DecodeError as error:
        assert error.reason == "unsupported" and name not in READ_BY_DECORD
    else:
        assert [read_number(frame) for frame in clip.frames] == list(range(2, 80, 11))


def test_decord_is_not_used_where_it_disagrees_with_the_container(videos: dict[str, Path], tmp_path: Path) -> None:
    cut = cut_without_encoding(videos["h264_b_frames.mp4"], tmp_path / "cut.mp4", first_ms=400)
    with pytest.raises(DecodeError, match="unsupported"):
        decode(cut, presentation_times(cut)[:3], size=SIZE, decoder="decord")


@pytest.mark.parametrize("name", KINDS)
def test_another_reader_agrees_or_a_full_decode_was_needed_anyway(videos: dict[str, Path], name: str) -> None:
    info, frame_numbers = probe_video(videos[name]), np.arange(2, 80, 11)
    frames, choice = read_frames(videos[name], info, frame_numbers, SIZE, "auto", check=True)
    assert [read_number(frame) for frame in frames] == frame_numbers.tolist()
    in_order = name in READ_IN_ORDER
    assert choice.reader == ("pyav_in_order" if in_order else "pyav_seeking") and choice.wrong == ()
    assert info.codec in choice.why and ("only a full decode" if in_order else "agrees") in choice.why
    assert "decord agrees" in choice.why or name not in READ_BY_DECORD


def test_a_reader_with_wrong_frames_is_named_and_its_frames_are_not_used(videos: dict[str, Path]) -> None:
    path, frame_numbers = videos["h264_b_frames.mp4"], np.arange(5, 75, 7)
    info = probe_video(path)
    right, shifted = (read_in_order(path, info, numbers, SIZE) for numbers in (frame_numbers, frame_numbers + 1))
    darker = (right * 0.9).astype(np.uint8)  # the right frames in other colours
    garbage = np.zeros_like(right)  # as far from the right frames as from their neighbours
    for first, other, wrong in (
        (shifted, right, ("pyav_seeking",)),
        (right, shifted, ("decord",)),
        (right, shifted[:3], ("decord",)),  # it was asked for the first frames only
        (shifted, shifted, ("pyav_seeking", "decord")),
        (garbage, garbage, ("pyav_seeking", "decord")),
        (darker, right, ()),
    ):
        frames, choice = decide_by_full_decode(
            *(path, info, frame_numbers, SIZE, {"pyav_seeking": first, "decord": other}),
            ReaderChoice("pyav_seeking", "a test"),
        )
        assert choice.wrong == wrong
        assert [read_number(frame) for frame in frames] == frame_numbers.tolist()
        assert (choice.reader == "pyav_in_order") == ("pyav_seeking" in wrong)


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "av1.mp4", "h264_open_gop.mp4", "hevc_open_gop.mp4"])
def test_a_long_file_is_checked_at_its_first_frames(videos: dict[str, Path], name: str) -> None:
    path, frame_numbers, by_seeking = videos[name], np.arange(5, 75, 4), ReaderChoice("pyav_seeking", "a test")
    info = probe_video(path)
    max_pixels = 31 * info.width * info.height
    right, shifted = (read_in_order(path, info, numbers, SIZE) for numbers in (frame_numbers, frame_numbers + 1))
    frames, choice = check_frames(path, info, frame_numbers, SIZE, right, by_seeking, max_pixels)
    assert frames is right and choice.reader == "pyav_seeking" and choice.wrong == ()
    assert "agrees, decoding in order on the first 7 of 18 frames" in choice.why
    frames, choice = check_frames(path, info, frame_numbers, SIZE, shifted, by_seeking, max_pixels)
    assert choice.reader == "pyav_in_order" and choice.wrong == ("pyav_seeking",)
    assert [read_number(frame) for frame in frames] == frame_numbers.tolist()


def test_a_file_that_cannot_be_checked_is_not_rejected_and_the_choice_says_why(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    frame_numbers, by_seeking = np.arange(45, 75, 7), ReaderChoice("pyav_seeking", "a test")
    damaged = damage_the_middle(videos["h264_open_gop.mp4"], tmp_path / "damaged.mp4")
    for path, num_decoded, why in (
        (videos["h264_one_gop.mp4"], 40, "too far from the start"),
        (damaged, 80, "corrupt"),
    ):
        info = probe_video(path)
        frames_read = np.zeros((len(frame_numbers), *SIZE, 3), np.uint8)
        frames, choice = check_frames(
            *(path, info, frame_numbers, SIZE, frames_read, by_seeking, num_decoded * info.width * info.height)
        )
        assert frames is frames_read and choice.reader == "pyav_seeking"
        assert "not checked" in choice.why and why in choice.why


def test_readers_that_disagree_without_a_full_decode_reject_the_file(videos: dict[str, Path], tmp_path: Path) -> None:
    damaged = damage_the_middle(videos["h264_one_gop.mp4"], tmp_path / "damaged.mp4")
    info, frame_numbers = probe_video(damaged), np.arange(5, 75, 7)
    first = np.zeros((len(frame_numbers), *SIZE, 3), np.uint8)
    with pytest.raises(DecodeError, match="readers_disagree"):
        decide_by_full_decode(
            *(damaged, info, frame_numbers, SIZE, {"pyav_seeking": first, "decord": first + 90}),
            ReaderChoice("pyav_seeking", "a test"),
        )


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "h264_open_gop.mp4", "hevc_open_gop.mp4", "vp9.webm", "av1.mp4"])
def test_seeking_does_not_fall_back_to_decoding_in_order(videos: dict[str, Path], name: str) -> None:
    """All other tests here would pass even if the fast path always fell back."""
    info = probe_video(videos[name])
    assert info.index.whole is None and read_seeking(videos[name], info, np.arange(5, 80, 7), SIZE) is not None


def test_the_start_of_a_cut_file_is_read_without_decoding_all_of_it(videos: dict[str, Path], tmp_path: Path) -> None:
    """An edit list hides the first keyframe, so there is none to seek to."""
    cut = cut_without_encoding(videos["h264_b_frames.mp4"], tmp_path / "cut.mp4", first_ms=400)
    info = probe_video(cut)
    frames = read_seeking(cut, info, np.array([1, 3, 40]), SIZE)
    assert info.index.whole is None and [read_number(frame) for frame in frames] == [11, 13, 50]
