"""Frames are exactly those asked for, whatever the container; what cannot be read says why."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import (
    cut_without_encoding,
    numbered_frames,
    read_number,
    with_display_matrix,
    write_audio,
    write_black,
    write_photos,
    write_video,
    write_with_many_streams,
    write_with_two_streams,
)

from videossr.decode import REASONS, Clip, Reading, decode, pictures, presentation_times, probe, read_frames
from videossr.decode.choice import checked_alone, settled
from videossr.decode.pyav_reader import read_around, read_in_order, read_seeking
from videossr.decode.watch import unchanged
from videossr.errors import DecodeError

SIZE = (64, 96)
AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
B_FRAMES = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-pyramid=normal"}
OPEN_GOP = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:open-gop=1:b-adapt=0"}
HEVC = {"x265-params": "keyint=12:min-keyint=12:scenecut=0:bframes=4:open-gop=1:log-level=none", "preset": "ultrafast"}

KINDS = {
    "h264_b_frames.mp4": {"options": B_FRAMES},
    "h264_one_gop.mp4": {"options": {"x264-params": "keyint=250"}},
    "h264_open_gop.mp4": {"options": OPEN_GOP},
    "h264_all_key.mp4": {"options": {"x264-params": "keyint=1"}},
    "h264.mkv": {"options": B_FRAMES},
    "h264_late_start.mkv": {"options": B_FRAMES, "ticks_ms": [5000 + 40 * i for i in range(80)]},
    "h264.ts": {"options": B_FRAMES},
    "h264_offset.ts": {"options": OPEN_GOP, "ticks_ms": [90_000 + 40 * i for i in range(80)]},
    "h264.avi": {"options": {"x264-params": "bframes=0"}},
    "h264_444.mp4": {"pixels": "yuv444p", "options": {"preset": "fast"}},
    "h264_10_bit.mp4": {"pixels": "yuv420p10le"},
    "h264_vfr.mp4": {"options": B_FRAMES, "ticks_ms": [i * i + 20 * i for i in range(80)]},
    "h264_gap.mp4": {"options": B_FRAMES, "ticks_ms": [40 * i + 30_000 * (i > 40) for i in range(80)]},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": HEVC},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "15", "b": "2000000"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "15", "b": "2000000"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime", "cpu-used": "8", "b": "1M"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "20", "deadline": "realtime", "cpu-used": "8", "b": "1M"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "20", "svtav1-params": "lp=1"}},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {name: write_video(folder / name, **how) for name, how in KINDS.items()}


def every_frame(path: Path) -> list[np.ndarray]:
    """The whole truth: all frames in the order in which the decoder shows them."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = container.decode(video=0)
        return [
            f.reformat(format="rgb24", width=96, height=64, interpolation=AREA, threads=1).to_ndarray() for f in frames
        ]


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_asked_for_is_the_one_that_a_full_decode_shows(videos: dict[str, Path], name: str) -> None:
    truth = every_frame(videos[name])
    times = presentation_times(videos[name])
    assert len(times) == len(truth) == 80
    for chosen in (np.arange(3, 80, 7), np.arange(30, 40), np.array([79]), np.array([0, 50])):
        clip = decode(videos[name], times[chosen], size=SIZE)
        np.testing.assert_array_equal(clip.frames, np.stack([truth[i] for i in chosen]))
        assert [read_number(frame) for frame in clip.frames] == chosen.tolist()
        assert clip.times.tolist() == times[chosen].tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 79), min_size=1, max_size=48), name=st.sampled_from(sorted(KINDS)))
def test_any_selection_of_frames_is_exact(videos: dict[str, Path], chosen: set[int], name: str) -> None:
    index = np.array(sorted(chosen))
    clip = decode(videos[name], presentation_times(videos[name])[index], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == index.tolist()


@pytest.mark.parametrize("name", ["h264_vfr.mp4", "h264_gap.mp4", "h264_offset.ts", "h264_late_start.mkv"])
def test_times_are_the_true_ones_and_start_at_zero(videos: dict[str, Path], name: str) -> None:
    ticks = np.array(KINDS[name]["ticks_ms"]) / 1000
    np.testing.assert_allclose(presentation_times(videos[name]), ticks - ticks[0], atol=6e-4)


def test_frames_hidden_by_an_edit_list_are_not_counted(videos: dict[str, Path], tmp_path: Path) -> None:
    cut = cut_without_encoding(videos["h264_b_frames.mp4"], tmp_path / "cut.mp4", first_ms=400)
    times = presentation_times(cut)
    truth = [read_number(frame) for frame in every_frame(cut)]
    assert truth[0] == 10 and len(times) == len(truth) == 70
    clip = decode(cut, times[::9], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == truth[::9]


def test_frames_that_are_never_shown_are_not_counted(videos: dict[str, Path], tmp_path: Path) -> None:
    """An alternate reference, as VP8 has them: the packet after frame 30 again, with its show bit cleared."""
    with av.open(str(videos["vp8.webm"])) as reading, av.open(str(tmp_path / "hidden.webm"), "w") as writing:
        copy = writing.add_stream_from_template(reading.streams.video[0])
        for number, packet in enumerate(p for p in reading.demux(video=0) if p.size):
            data = bytes(packet)
            for payload, pts in ((data, packet.pts), (bytes([data[0] & ~0x10]) + data[1:], packet.pts + 1)):
                if payload is data or number == 31:
                    new = av.Packet(payload)
                    new.pts = new.dts = pts
                    new.time_base, new.stream, new.is_keyframe = packet.time_base, copy, packet.is_keyframe
                    writing.mux(new)
    times = presentation_times(tmp_path / "hidden.webm")
    clip = decode(tmp_path / "hidden.webm", times[28:40], size=SIZE)
    assert len(times) == 80 and [read_number(frame) for frame in clip.frames] == list(range(28, 40))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_videos_come_out_upright(tmp_path: Path, rotation: int) -> None:
    path = write_video(tmp_path / "turned.mp4", 20, rotation=rotation)
    probed = probe(path)
    assert (probed.height, probed.width) == ((96, 64) if rotation % 180 else (64, 96))
    clip = decode(path, probed.times[4:8], size=(probed.height, probed.width))
    # The display matrix says how far to turn the stored picture counterclockwise.
    stored = every_frame(path)[4:8]
    np.testing.assert_array_equal(clip.frames, [np.rot90(frame, rotation // 90) for frame in stored])
    by_decord = decode(path, probed.times[4:8], size=(probed.height, probed.width), decoder="decord")
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
    probed, index = probe(path), np.arange(4, 20, 5)
    frames = np.stack([stood(frame) for frame in np.stack(every_frame(path))[index]])
    size = (probed.height, probed.width)
    np.testing.assert_array_equal(decode(path, probed.times[index], size=size).frames, frames)
    mirrored = np.linalg.det(np.reshape(matrix, (2, 2))) < 0
    assert probed.stance.is_mirrored == mirrored
    if mirrored:  # decord takes a mirror for a turn, or sees none
        with pytest.raises(DecodeError, match="unsupported: .*mirrored"):
            decode(path, probed.times[index], size=size, decoder="decord")
    else:
        by_decord = decode(path, probed.times[index], size=size, decoder="decord").frames
        assert np.abs(by_decord.astype(int) - frames).mean() < 3
    checked, reading = read_frames(path, probed, index, size, "auto", check=True)
    np.testing.assert_array_equal(checked, frames)
    assert reading.reader == "pyav_seeking" and reading.wrong == ()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_pictures_are_turned_as_a_camera_says_in_each(tmp_path: Path, orientation: int, turns: int) -> None:
    path = write_photos(tmp_path / "camera.mov", 10, orientation)
    probed = probe(path)
    assert (probed.height, probed.width) == ((96, 64) if turns % 2 else (64, 96))
    frames = decode(path, probed.times[2:5], size=(probed.height, probed.width)).frames
    np.testing.assert_array_equal(frames, [np.rot90(frame, turns) for frame in every_frame(path)[2:5]])


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (1, 0, 1, 0), (1, 0.1, 0, 1)])
def test_a_picture_that_no_quarter_turn_sets_upright_is_refused(
    tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    path = with_display_matrix(write_video(tmp_path / "a.mp4", 20), matrix)
    with pytest.raises(DecodeError, match="unsupported: .*display matrix"):
        probe(path)


def test_pixels_that_are_not_square_widen_the_picture(tmp_path: Path) -> None:
    probed = probe(write_video(tmp_path / "wide.mp4", 10, aspect=Fraction(4, 3)))
    assert (probed.height, probed.width) == (64, 128)


def test_odd_sizes_are_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", 20, height=63, width=97, pixels="yuv444p")
    probed = probe(path)
    assert (probed.height, probed.width) == (63, 97)
    clip = decode(path, probed.times[::5], size=(32, 64))
    assert [read_number(frame) for frame in clip.frames] == [0, 5, 10, 15]


def test_the_larger_of_two_streams_is_read(tmp_path: Path) -> None:
    path = write_with_two_streams(tmp_path / "two.mp4")
    times = presentation_times(path)
    clip = decode(path, times[[5, 40]], size=SIZE)
    assert (probe(path).width, [read_number(frame) for frame in clip.frames]) == (96, [5, 40])


def test_the_probe_tells_codec_size_rate_and_length(videos: dict[str, Path]) -> None:
    probed = probe(videos["vp9.webm"])
    assert (probed.codec, probed.width, probed.height, len(probed.times)) == ("vp9", 96, 64, 80)
    assert probed.fps == pytest.approx(25, rel=1e-3) and probed.duration_seconds == pytest.approx(3.2, rel=1e-3)


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "h264.ts", "mpeg4_b_frames.avi", "av1.mp4"])
def test_small_pictures_are_those_of_their_seconds(videos: dict[str, Path], name: str) -> None:
    truth = [f.mean(axis=2).round() for f in read_in_order(videos[name], probe(videos[name]), np.arange(80), (16, 17))]
    drawn = list(pictures(videos[name], probe(videos[name])))
    np.testing.assert_array_equal(drawn, [truth[number] for number in (0, 25, 50)])
    assert all(picture.dtype == np.uint8 for picture in drawn)


@pytest.mark.parametrize(("space", "matrix", "tag"), [("ITU709", "bt709", 1), ("ITU601", "smpte170m", 6)])
def test_the_colour_matrix_that_a_file_names_is_used(tmp_path: Path, space: str, matrix: str, tag: int) -> None:
    colours = np.array([[230, 30, 20], [20, 220, 40], [20, 40, 230], [200, 200, 200]], np.uint8)
    picture = np.repeat(np.repeat(colours.reshape(2, 2, 3), 32, 0), 32, 1)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4", "colorspace": matrix})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.colorspace = tag
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv444p", dst_colorspace=space)))
        container.mux(stream.encode(None))
    clip = decode(tmp_path / "a.mp4", presentation_times(tmp_path / "a.mp4"), size=(64, 64))
    assert np.abs(clip.frames[2, [8, 8, 40, 40], [8, 40, 8, 40]].astype(int) - colours).max() <= 4


def test_colours_and_sides_are_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8, options={"crf": "5"}, pixels="yuv444p")
    clip = decode(path, presentation_times(path), size=SIZE)
    assert np.abs(clip.frames.astype(int) - numbered_frames(8)).mean() < 4


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


@pytest.mark.parametrize("name", KINDS)
def test_keyframes_alone_are_exact_too(videos: dict[str, Path], name: str) -> None:
    probed = probe(videos[name])
    frames = read_frames(videos[name], probed, probed.keyframes, SIZE, "auto")[0]
    assert len(frames) >= 1 and [read_number(frame) for frame in frames] == probed.keyframes.tolist()


def test_a_time_between_frames_is_refused(videos: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="presentation times"):
        decode(videos["h264_b_frames.mp4"], np.array([0.05]), size=SIZE)
    with pytest.raises(ValueError, match="presentation times"):
        decode(videos["h264_b_frames.mp4"], np.array([99.0]), size=SIZE)


def broken_files(folder: Path) -> dict[str, str]:
    """File name -> the reason that it must be given."""
    whole = write_video(folder / "whole.mp4", 30).read_bytes()
    (folder / "text.mp4").write_text("this is no video\n" * 40)
    (folder / "playlist.ts").write_text("#EXTM3U\n#EXTINF:1\nwhole.mp4\n")
    (folder / "empty.mov").write_bytes(b"")
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    write_audio(folder / "audio.mp4")
    return {
        "text.mp4": "not_a_video",
        "playlist.ts": "not_a_video",
        "empty.mov": "not_a_video",
        "half.mp4": "not_a_video",
        "audio.mp4": "no_video_stream",
        "absent.mp4": "unreadable",
    }


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(DecodeError) as caught:
            probe(tmp_path / name)
        assert (name, caught.value.reason) == (name, reason)
        assert reason in REASONS


def test_names_that_look_like_protocols_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", 'it\'s "%03d".mp4', "new\nline.mp4", "http:..mp4"):
        write_video(tmp_path / "plain.mp4", 10).rename(tmp_path / name)
        assert len(presentation_times(Path(name))) == 10


def test_damaged_frames_are_refused_not_returned(videos: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(videos["h264_one_gop.mp4"].read_bytes())
    start = data.index(b"mdat") + 1500
    rng = np.random.default_rng(0)
    for place in rng.integers(start, len(data) - 4000, 60):
        data[place] ^= 0xFF
    path = tmp_path / "rot.mp4"
    path.write_bytes(data)
    with pytest.raises(DecodeError) as caught:
        decode(path, presentation_times(path)[5::6], size=SIZE)
    assert caught.value.reason == "corrupt"


def test_a_truncated_recording_keeps_what_it_has(videos: dict[str, Path], tmp_path: Path) -> None:
    data = videos["h264.mkv"].read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) * 2 // 3])
    times = presentation_times(path)
    assert 0 < len(times) < 80
    clip = decode(path, times[:10], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == list(range(10))


def test_a_clip_checks_itself() -> None:
    frames, times = np.zeros((2, 4, 4, 3), np.uint8), np.array([0.0, 1.0])
    assert len(Clip(frames, times)) == 2
    for bad_frames, bad_times in (
        (frames.astype(np.float32), times),
        (frames[..., :1], times),
        (frames, times[:1]),
        (frames, times[::-1]),
        (frames, np.array([1.0, 1.0])),
    ):
        with pytest.raises(ValueError, match="frames|times"):
            Clip(bad_frames, bad_times)


def test_bombs_are_refused_unread(tmp_path: Path) -> None:
    three_hours = 3 * 3600 * 1000
    bombs = {
        write_with_many_streams(tmp_path / "streams.mp4", 120): "too_many_streams",
        write_video(tmp_path / "long.mkv", 12, ticks_ms=[three_hours * i for i in range(12)]): "too_long",
        write_black(tmp_path / "huge.mov", 1, 8200, 8200, "png", "gray"): "too_large",
    }
    for path, reason in bombs.items():
        with pytest.raises(DecodeError) as caught:
            probe(path)
        assert (path.name, caught.value.reason) == (path.name, reason)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(b"half")
    with unchanged(path):
        path.read_bytes()
    for change in (
        lambda: path.write_bytes(b"whole"),
        lambda: path.rename(tmp_path / "old") and path.write_bytes(b"whole"),
    ):
        with pytest.raises(DecodeError, match="changed_while_read"), unchanged(path):
            change()
            raise DecodeError("corrupt")


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "h264_open_gop.mp4", "hevc_open_gop.mp4", "vp9.webm", "av1.mp4"])
def test_seeking_needs_no_second_reading(videos: dict[str, Path], name: str) -> None:
    """A fast path that always falls back would pass every other test here."""
    probed = probe(videos[name])
    assert read_seeking(videos[name], probed, np.arange(5, 80, 7), SIZE) is not None


@pytest.mark.fuzz
@pytest.mark.parametrize("name", KINDS)
def test_random_damage_gives_exact_frames_or_a_reason(videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    whole = videos[name].read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(40):
        data = bytearray(whole[: int(rng.integers(1, len(whole) + 1))] if trial % 4 == 0 else whole)
        for place in rng.integers(0, len(data), int(rng.integers(1, 40))):
            data[place] = rng.integers(256)
        path = tmp_path / name
        path.write_bytes(data)
        try:
            times = presentation_times(path)
            clip = decode(path, times[:: max(1, len(times) // 12)], size=SIZE)
        except DecodeError as error:
            assert error.reason in REASONS
        else:
            assert clip.frames.shape[1:] == (*SIZE, 3)
