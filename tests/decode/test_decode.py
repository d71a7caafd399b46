"""Decoding returns exactly the wanted frames from every container, and never a damaged frame."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.videos import (
    KINDS,
    SIZE,
    cut_without_encoding,
    decode_all_frames,
    numbered_frames,
    read_number,
    write_video,
    write_with_two_streams,
)
from videossr.clip import Clip
from videossr.decode import REASONS, decode, iter_thumbnails, presentation_times, probe_video, read_frames
from videossr.decode.pyav_reader import read_in_order
from videossr.errors import DecodeError


@pytest.mark.parametrize("name", KINDS)
def test_decoded_frames_equal_those_of_a_full_decode(videos: dict[str, Path], name: str) -> None:
    reference = decode_all_frames(videos[name])
    times = presentation_times(videos[name])
    assert len(times) == len(reference) == 80
    for chosen in (np.arange(3, 80, 7), np.arange(30, 40), np.array([79]), np.array([0, 50])):
        clip = decode(videos[name], times[chosen], size=SIZE)
        np.testing.assert_array_equal(clip.frames, np.stack([reference[i] for i in chosen]))
        assert [read_number(frame) for frame in clip.frames] == chosen.tolist()
        assert clip.times.tolist() == times[chosen].tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 79), min_size=1, max_size=48), name=st.sampled_from(sorted(KINDS)))
def test_any_selection_of_frames_is_exact(videos: dict[str, Path], chosen: set[int], name: str) -> None:
    frame_numbers = np.array(sorted(chosen))
    clip = decode(videos[name], presentation_times(videos[name])[frame_numbers], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == frame_numbers.tolist()


def test_frames_hidden_by_an_edit_list_are_not_counted(videos: dict[str, Path], tmp_path: Path) -> None:
    cut = cut_without_encoding(videos["h264_b_frames.mp4"], tmp_path / "cut.mp4", first_ms=400)
    times = presentation_times(cut)
    shown = [read_number(frame) for frame in decode_all_frames(cut)]
    assert shown[0] == 10 and len(times) == len(shown) == 70
    clip = decode(cut, times[::9], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == shown[::9]


def test_frames_that_are_never_shown_are_not_counted(videos: dict[str, Path], tmp_path: Path) -> None:
    """An alternate reference frame of VP8: the packet after frame 30 is repeated with its show bit cleared."""
    with av.open(str(videos["vp8.webm"])) as original, av.open(str(tmp_path / "hidden.webm"), "w") as output_file:
        copy = output_file.add_stream_from_template(original.streams.video[0])
        for number, packet in enumerate(p for p in original.demux(video=0) if p.size):
            data = bytes(packet)
            for payload, pts in ((data, packet.pts), (bytes([data[0] & ~0x10]) + data[1:], packet.pts + 1)):
                if payload is data or number == 31:
                    new = av.Packet(payload)
                    new.pts = new.dts = pts
                    new.time_base, new.stream, new.is_keyframe = packet.time_base, copy, packet.is_keyframe
                    output_file.mux(new)
    times = presentation_times(tmp_path / "hidden.webm")
    clip = decode(tmp_path / "hidden.webm", times[28:40], size=SIZE)
    assert len(times) == 80 and [read_number(frame) for frame in clip.frames] == list(range(28, 40))


def test_videos_of_odd_size_are_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", 20, height=63, width=97, pixel_format="yuv444p")
    info = probe_video(path)
    assert (info.height, info.width) == (63, 97)
    clip = decode(path, info.times[::5], size=(32, 64))
    assert [read_number(frame) for frame in clip.frames] == [0, 5, 10, 15]


def test_the_larger_of_two_streams_is_decoded(tmp_path: Path) -> None:
    path = write_with_two_streams(tmp_path / "two.mp4")
    times = presentation_times(path)
    clip = decode(path, times[[5, 40]], size=SIZE)
    assert (probe_video(path).width, [read_number(frame) for frame in clip.frames]) == (96, [5, 40])


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "h264.ts", "mpeg4_b_frames.avi", "av1.mp4"])
def test_thumbnails_are_the_frames_at_fixed_seconds(videos: dict[str, Path], name: str) -> None:
    info = probe_video(videos[name])
    reference = [frame.mean(axis=2).round() for frame in read_in_order(videos[name], info, np.arange(80), (16, 17))]
    thumbnails = list(iter_thumbnails(videos[name], info))
    np.testing.assert_array_equal(thumbnails, [reference[number] for number in (0, 25, 50)])
    assert all(thumbnail.dtype == np.uint8 for thumbnail in thumbnails)


@pytest.mark.parametrize(("space", "matrix", "tag"), [("ITU709", "bt709", 1), ("ITU601", "smpte170m", 6)])
def test_the_colour_matrix_declared_by_the_file_is_used(tmp_path: Path, space: str, matrix: str, tag: int) -> None:
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


def test_colours_and_orientation_are_preserved(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8, options={"crf": "5"}, pixel_format="yuv444p")
    clip = decode(path, presentation_times(path), size=SIZE)
    assert np.abs(clip.frames.astype(int) - numbered_frames(8)).mean() < 4


@pytest.mark.parametrize("name", KINDS)
def test_keyframes_are_exact(videos: dict[str, Path], name: str) -> None:
    info = probe_video(videos[name])
    frames = read_frames(videos[name], info, info.keyframes, SIZE, "auto")[0]
    assert len(frames) >= 1 and [read_number(frame) for frame in frames] == info.keyframes.tolist()


def test_a_time_that_is_no_presentation_time_raises_a_value_error(videos: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="presentation times"):
        decode(videos["h264_b_frames.mp4"], np.array([0.05]), size=SIZE)
    with pytest.raises(ValueError, match="presentation times"):
        decode(videos["h264_b_frames.mp4"], np.array([99.0]), size=SIZE)


def test_damaged_frames_raise_an_error_and_are_not_returned(videos: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(videos["h264_one_gop.mp4"].read_bytes())
    start = data.index(b"mdat") + 1500
    rng = np.random.default_rng(0)
    for offset in rng.integers(start, len(data) - 4000, 60):
        data[offset] ^= 0xFF
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with pytest.raises(DecodeError) as caught:
        decode(path, presentation_times(path)[5::6], size=SIZE)
    assert caught.value.reason == "corrupt"


def test_the_frames_of_a_truncated_recording_are_decoded(videos: dict[str, Path], tmp_path: Path) -> None:
    data = videos["h264.mkv"].read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) * 2 // 3])
    times = presentation_times(path)
    assert 0 < len(times) < 80
    clip = decode(path, times[:10], size=SIZE)
    assert [read_number(frame) for frame in clip.frames] == list(range(10))


def test_a_clip_checks_its_arrays() -> None:
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


@pytest.mark.fuzz
@pytest.mark.parametrize("name", KINDS)
def test_random_damage_gives_a_clip_or_a_listed_reason(videos: dict[str, Path], tmp_path: Path, name: str) -> None:
    original = videos[name].read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(40):
        data = bytearray(original[: int(rng.integers(1, len(original) + 1))] if trial % 4 == 0 else original)
        for offset in rng.integers(0, len(data), int(rng.integers(1, 40))):
            data[offset] = rng.integers(256)
        path = tmp_path / name
        path.write_bytes(data)
        try:
            times = presentation_times(path)
            clip = decode(path, times[:: max(1, len(times) // 12)], size=SIZE)
        except DecodeError as error:
            assert error.reason in REASONS
        else:
            assert clip.frames.shape[1:] == (*SIZE, 3)
