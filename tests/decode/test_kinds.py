"""For each kind of file whose packets mislead: frames and times are those of a full decode, or the file is refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.odd_videos import (
    MPEG4_B_FRAMES,
    copy_packets,
    joined_without_header,
    with_40_damaged_bytes,
    with_a_hidden_frame,
    with_all_packets_as_keyframes,
    with_times_in_decoding_order,
    without_a_transport_packet,
    without_first_packets,
    write_palette_video,
    write_with_a_large_still,
)
from tests.support.videos import (
    B_FRAMES,
    SIZE,
    decode_all_frames,
    numbered_frames,
    read_number,
    write_frames,
    write_video,
)
from videossr.decode import VideoInfo, probe_and_read, probe_video, read_frames
from videossr.decode.clock import rising_ticks
from videossr.decode.full_decode import PacketDamage, find_whole_frames
from videossr.errors import DecodeError
from videossr.frames.encoding import read_chosen_frames
from videossr.frames.sampling import FramesParams


def read_all(path: Path) -> tuple[list[float], list[int]]:
    """The times and numbers of all whole frames, as the readers find them."""

    def read(info: VideoInfo) -> tuple[list[float], list[int]]:
        whole = np.arange(len(info.times)) if info.index.whole is None else np.flatnonzero(info.index.whole)
        frames = read_frames(path, info, whole, SIZE, "auto")[0]
        return info.times[whole].tolist(), [read_number(frame) for frame in frames]

    return probe_and_read(path, read)


def shown_numbers(path: Path) -> list[int]:
    """The numbers of the frames that a full decode shows."""
    return [read_number(frame) for frame in decode_all_frames(path)]


@pytest.mark.parametrize("start_ms", [0, 20, 3_600_000])
def test_two_joined_transport_streams_are_shown_one_after_the_other(tmp_path: Path, start_ms: int) -> None:
    """The clock of the second falls: by the first's length, a little less, or an hour (a wrapped clock)."""
    first_ms, second_ms = (start_ms, 0) if start_ms > 1000 else (0, start_ms)
    for name, first in (("a.ts", first_ms), ("b.ts", second_ms)):
        write_video(tmp_path / name, 40, ticks_ms=[first + 40 * number for number in range(40)], options=B_FRAMES)
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert shown_numbers(path) == [*range(40), *range(40)]
    info = probe_video(path)
    np.testing.assert_allclose(info.times, np.arange(80) / 25, atol=1e-6)
    times, numbers = read_all(path)
    assert len(times) >= 70 and numbers == [round(time * 25) % 40 for time in times]


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.mark.parametrize("start_ms", [20, 40, 3_600_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_two_joined_files_are_shown_one_after_the_other(tmp_path: Path, suffix: str, start_ms: int) -> None:
    """The clock of the second falls, so that the frames of both would alternate if they were sorted by their times."""
    first_ms, second_ms = (start_ms, 0) if start_ms > 1000 else (0, start_ms)
    parts = [
        write_video(
            tmp_path / f"{name}{suffix}",
            40,
            ticks_ms=[first + 40 * number for number in range(40)],
            options=B_FRAMES,
            container_options=FRAGMENTS if suffix == ".mp4" else None,
        )
        for name, first in (("a", first_ms), ("b", second_ms))
    ]
    path = tmp_path / f"joined{suffix}"
    if suffix == ".mp4":
        joined_without_header(*parts, path)
    else:
        path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    shown = shown_numbers(path)  # the decoder of MP4 may lose the first fragment of the second
    assert shown == [*range(40), *range(80 - len(shown), 40)]
    np.testing.assert_allclose(np.diff(probe_video(path).times), 0.04, atol=0.001)
    times, numbers = read_all(path)
    assert len(times) >= len(shown) - 10 and numbers == [shown[round(time * 25)] for time in times]


def test_two_joined_ogg_files_are_shown_one_after_the_other(tmp_path: Path) -> None:
    """There is no encoder of Theora here: Ogg holds VP8."""
    one = write_video(tmp_path / "one.ogv", 40, codec="libvpx", options={"g": "20", "b": "1M"})
    path = tmp_path / "joined.ogv"
    path.write_bytes(one.read_bytes() * 2)
    times, numbers = read_all(path)
    assert numbers == [*range(40), *range(40)]
    np.testing.assert_allclose(np.diff(times), 0.04, atol=0.041)


def test_frames_that_change_their_size_are_all_shown(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", 40, options=B_FRAMES)
    ticks_ms = [2000 + 40 * number for number in range(40)]
    large = write_video(tmp_path / "large.ts", 40, height=128, width=192, ticks_ms=ticks_ms, options=B_FRAMES)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert shown_numbers(path) == [*range(40), *range(40)]
    info = probe_video(path)
    assert (info.height, info.width, len(info.times)) == (64, 96, 80)
    numbers = read_all(path)[1]
    assert len(numbers) >= 75 and set(numbers) == set(range(40))


def test_h264_in_avi_has_the_times_of_its_chunks(tmp_path: Path) -> None:
    """AVI stores no order of presentation: frames are shown in the decoder's order, one a chunk."""
    original = write_video(tmp_path / "right.ts", options=B_FRAMES)
    path = copy_packets(original, tmp_path / "a.avi", lambda number, packet: [packet])
    times, numbers = read_all(path)
    assert numbers == list(range(80))
    np.testing.assert_allclose(times, np.arange(80) / 25, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_starts_within_an_intra_refresh_starts_at_its_first_shown_frame(
    tmp_path: Path, suffix: str
) -> None:
    """Keyframes are points from which a decoder recovers: a full decode withholds the frames until it has."""
    options = {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
    whole = write_video(tmp_path / f"whole{suffix}", options=options)
    path = without_first_packets(whole, tmp_path / f"a{suffix}", 24)
    shown = shown_numbers(path)
    assert shown[0] > 24 and len(probe_video(path).times) == len(shown)
    assert read_all(path)[1] == shown


def test_the_gaps_of_an_avi_file_are_part_of_its_times(tmp_path: Path) -> None:
    """A recorder that writes an empty chunk where nothing changed."""
    ticks_ms = [40 * (number + number // 5) for number in range(80)]
    path = write_video(tmp_path / "gaps.avi", 80, codec="mpeg4", ticks_ms=ticks_ms, options={"g": "10"})
    times, numbers = read_all(path)
    np.testing.assert_allclose(times, np.array(ticks_ms) / 1000)
    assert numbers == list(range(80))


@pytest.mark.parametrize(
    ("codec", "options"), [("mpeg4", MPEG4_B_FRAMES), ("libx264", B_FRAMES), ("libx265", {"x265-params": "bframes=3"})]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_stored_with_their_decoding_times_are_shown_in_the_order_of_the_decoder(
    tmp_path: Path, codec: str, options: dict[str, str], suffix: str
) -> None:
    original = write_video(tmp_path / "right.mp4", codec=codec, options=options)
    path = with_times_in_decoding_order(original, tmp_path / f"decoding{suffix}")
    times, numbers = read_all(path)
    assert numbers == shown_numbers(path) and np.all(np.diff(numbers) > 0) and np.all(np.diff(times) > 0)


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv", "hevc.ts"])
def test_a_file_that_starts_between_keyframes_starts_at_its_first_shown_frame(tmp_path: Path, name: str) -> None:
    options = {"x265-params": "keyint=20:min-keyint=20:bframes=3"} if name.startswith("hevc") else B_FRAMES
    whole = write_video(tmp_path / f"whole_{name}", codec="libx265" if name[1] == "e" else "libx264", options=options)
    path = without_first_packets(whole, tmp_path / name, 6)
    times, numbers = read_all(path)
    shown = shown_numbers(path)
    info = probe_video(path)
    assert len(info.times) == len(shown) and info.times[0] == 0
    assert numbers[0] >= 20 and set(range(20, 80)) <= set(numbers)
    np.testing.assert_allclose(np.diff(times), np.diff(numbers) / 25, atol=2e-3)


def test_interlaced_h264_is_indexed_by_decoding(tmp_path: Path) -> None:
    """Two packets may be the two fields of one frame."""
    path = write_video(tmp_path / "a.mp4", 30, options={"x264-params": "tff=1:bframes=2"})
    assert probe_video(path).index.whole is not None
    assert read_all(path)[1] == list(range(30))


@pytest.mark.parametrize(("name", "show_bit"), [("vp8.webm", 0x10), ("vp9.webm", 0x02)])
def test_hidden_frames_in_packets_of_their_own_are_not_counted(
    videos: dict[str, Path], tmp_path: Path, name: str, show_bit: int
) -> None:
    path = with_a_hidden_frame(videos[name], tmp_path / name, 30, show_bit)
    assert len(decode_all_frames(path)) == 80
    assert probe_video(path).index.whole is None and read_all(path)[1] == list(range(80))


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", ".mp4"), ("h263", ".3gp"), ("libx264", ".mp4")])
def test_a_table_that_calls_every_frame_a_keyframe_leads_to_no_garbage(tmp_path: Path, codec: str, suffix: str) -> None:
    options = {"g": "40", "b": "2000000"} if codec != "libx264" else {"x264-params": "keyint=40:bframes=0"}
    size = {"height": 144, "width": 176}
    original = write_video(tmp_path / f"right{suffix}", codec=codec, options=options, **size)
    path = with_all_packets_as_keyframes(original, tmp_path / f"false{suffix}")
    assert read_all(path)[1] == list(range(80))


def test_frames_with_a_palette_are_read_with_it(tmp_path: Path) -> None:
    path = write_palette_video(tmp_path / "palette.mov")
    assert read_all(path)[1] == list(range(80))


def test_a_large_still_beside_a_video_is_not_taken_for_it(tmp_path: Path) -> None:
    path = write_with_a_large_still(tmp_path / "photo.mp4")
    info = probe_video(path, min_frames=48)
    assert (info.width, len(info.times)) == (96, 60)
    assert [read_number(frame) for frame in read_frames(path, info, np.array([7, 50]), SIZE, "auto")[0]] == [7, 50]


def assert_only_whole_frames_are_chosen(path: Path, original: Path, least_replaced: int) -> None:
    """Frames chosen from a damaged file equal those of the original at the same numbers, at their own times."""
    params = FramesParams(num_frames=20)
    chosen = probe_and_read(path, lambda info: read_chosen_frames(path, info, params, SIZE))
    reference = decode_all_frames(original)
    numbers = [read_number(frame) for frame in chosen.clip.frames]
    np.testing.assert_array_equal(chosen.clip.frames, np.stack([reference[number] for number in numbers]))
    np.testing.assert_allclose(np.diff(chosen.clip.times), np.diff(numbers) / 25, atol=2e-3)
    assert chosen.replaced >= least_replaced and chosen.damaged >= chosen.replaced


@pytest.mark.parametrize("share", [0.3, 0.5, 0.62])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_a_lost_transport_packet_costs_the_frames_that_depend_on_it(tmp_path: Path, share: float, codec: str) -> None:
    if codec == "mpeg2video":
        original = write_frames(tmp_path / "whole.ts", numbered_frames(80), codec)
    else:
        options = B_FRAMES if codec == "libx264" else {"x265-params": "keyint=20:min-keyint=20"}
        original = write_video(tmp_path / "whole.ts", codec=codec, options={"crf": "10", **options})
    path = without_a_transport_packet(original, tmp_path / "lost.ts", share)
    assert_only_whole_frames_are_chosen(path, original, 0)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *((name, "libx264") for name in ("a.mkv", "a.mp4", "a.m4v", "a.mov", "a.flv")),
        *((name, "mpeg4") for name in ("a.avi", "a.mkv", "a.3gp")),
        *((name, "mpeg2video") for name in ("a.mxf", "a.mkv")),
    ],
)
def test_40_damaged_bytes_cost_the_frames_that_depend_on_them(tmp_path: Path, name: str, codec: str) -> None:
    options = {"g": "20", "b": "2000000"}
    if codec == "libx264":
        options = {"x264-params": "keyint=20:bframes=0:scenecut=0", "crf": "5"}
    original = tmp_path / f"whole_{name}"
    if codec == "mpeg2video":
        write_frames(original, numbered_frames(80), codec)
    else:
        write_video(original, codec=codec, options=options)
    path = with_40_damaged_bytes(original, tmp_path / name, 42)
    assert_only_whole_frames_are_chosen(path, original, 1)


def test_a_video_with_too_few_whole_frames_is_rejected(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=250:bframes=0", "crf": "5"}
    whole = write_video(tmp_path / "whole.mkv", options=options)
    path = with_40_damaged_bytes(whole, tmp_path / "a.mkv", 60)
    assert_only_whole_frames_are_chosen(path, whole, 1)
    strict = FramesParams(num_frames=20, min_whole=1.0)
    with pytest.raises(DecodeError, match=r"corrupt: \d+ of 20 wanted frames are damaged, and frames.min_whole is 1"):
        probe_and_read(path, lambda info: read_chosen_frames(path, info, strict, SIZE))


def test_frames_are_whole_from_a_keyframe_on_until_damage() -> None:
    """Packets 0 to 9 in decoding order; 0 and 5 are keyframes, 6 is decoded after 5 and shown before it."""
    shown = [0, 1, 2, 3, 4, 6, 5, 7, 8, 9]
    is_key = [number in (0, 5) for number in shown]

    def whole(damaged: set[int], starts_with_keyframe: bool = True) -> set[int]:
        found = find_whole_frames(shown, is_key, PacketDamage(damaged, starts_with_keyframe))
        return {packet for packet, is_whole in zip(shown, found, strict=True) if is_whole}

    assert whole(set()) == set(range(10))
    assert whole({3}) == {0, 1, 2, 5, 7, 8, 9}
    assert whole({5}) == {0, 1, 2, 3, 4}
    assert whole({8}) == set(range(8))
    assert whole({10}) == set(range(10))
    no_keyframes = find_whole_frames([0, 1, 2], [False] * 3, PacketDamage({1}, starts_with_keyframe=False))
    assert no_keyframes.tolist() == [True, False, False]
    assert not find_whole_frames([0, None], [True, False], PacketDamage({1})).any()


def test_a_clock_rises_whatever_the_decoder_says() -> None:
    assert rising_ticks([5, 7, 9], 2).tolist() == [0, 2, 4]
    assert rising_ticks([5, 7, 7, 11], 2).tolist() == [0, 2, 4, 6]  # one time between its neighbours
    assert rising_ticks([5, 7, 1, 3, 5], 2).tolist() == [0, 2, 4, 6, 8]  # a restart
    assert rising_ticks([5, 7, 900, 902], 2, max_step=100).tolist() == [0, 2, 4, 6]  # a jump
    assert rising_ticks([5, 7, 900, 902], 2).tolist() == [0, 2, 895, 897]  # a pause
    assert rising_ticks([None, 7, None, 11], 2).tolist() == [0, 2, 4, 6]
    assert rising_ticks([None, None], 2).tolist() == [0, 2]
    assert rising_ticks([None, None, 24, 26], 2).tolist() == [0, 2, 4, 6]
    assert rising_ticks([0, 0, 0, 0, 8, 10], 2).tolist() == [0, 2, 4, 6, 8, 10]  # repeated times
    assert rising_ticks([0, 2, 0, 0, 2], 2).tolist() == [0, 2, 4, 6, 8]  # a restart with a repeated time
    assert rising_ticks([3, 3, 3], 2).tolist() == [0, 2, 4]
    assert rising_ticks([], 2).tolist() == []
