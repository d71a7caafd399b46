"""The store holds evenly spaced, distinct frames with their presentation times, in reproducible bytes."""

import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.frame_stores import PARAMS, read_files, to_manifest_row, write_four_videos
from tests.support.videos import numbered_frames, read_number, write_black, write_video
from videossr.decode import presentation_times
from videossr.errors import ConfigError, StoreError
from videossr.frames import store
from videossr.frames.encoding import encode_jpeg
from videossr.frames.sampling import FramesParams, choose_frames, fitted_size, move_to_keyframes
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.parallel import Limits
from videossr.records import Video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    return write_four_videos(tmp_path_factory.mktemp("videos"))


def test_the_store_holds_the_chosen_frames_and_their_times(videos: list[Video], tmp_path: Path) -> None:
    assert write_store(videos, tmp_path / "frames", PARAMS, workers=0) == []
    store = FrameStore(tmp_path / "frames")
    assert len(store) == 4 and set(store) == {v.video_id for v in videos}
    for v in videos:
        times = presentation_times(Path(v.path))
        numbers = choose_frames(times, 12, (0.05, 0.95))
        clip = store[v.video_id]
        assert clip.frames.shape == (12, 64, 96, 3)
        assert clip.times.tolist() == times[numbers].tolist()
        assert [read_number(frame) for frame in clip.frames] == numbers.tolist()


def test_stored_pixels_stay_close_to_the_source(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos[-1:], tmp_path / "frames", PARAMS, workers=0)
    clip = FrameStore(tmp_path / "frames")[videos[-1].video_id]
    source = numbered_frames(80)[[read_number(frame) for frame in clip.frames]]
    assert np.abs(clip.frames.astype(int) - source).mean() < 6


@pytest.mark.parametrize("size", [(64, 64), (192, 320)])
def test_a_detailed_frame_is_stored_with_44_decibels_of_luma_and_41_of_chroma(size: tuple[int, int]) -> None:
    rng, detailed = np.random.default_rng(0), np.full((*size, 3), 128, np.float32)
    for scale in (1, 2, 4, 8):
        coarse = rng.normal(0, 3 * scale**0.5, (size[0] // scale, size[1] // scale, 3)).astype(np.float32)
        detailed += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    frame = detailed.clip(0, 255).astype(np.uint8)
    stored = simplejpeg.decode_jpeg(encode_jpeg(frame), "RGB")
    before, after = (cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb).astype(float) for pixels in (frame, stored))
    luma, red, blue = 10 * np.log10(255**2 / ((before - after) ** 2).mean(axis=(0, 1)))
    assert luma >= 44.2 and min(red, blue) >= 41.5


def test_a_frame_of_noise_is_stored() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (192, 320, 3)).astype(np.uint8)
    assert simplejpeg.decode_jpeg(encode_jpeg(noise), "RGB").shape == noise.shape


def test_the_bytes_do_not_depend_on_the_workers_or_the_order_of_videos(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos, tmp_path / "one", PARAMS, workers=0)
    write_store(videos[::-1], tmp_path / "two", PARAMS, workers=3)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")


def test_shards_are_plain_tar_archives(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos, tmp_path / "frames", PARAMS, workers=0)
    with tarfile.open(tmp_path / "frames" / "shard-00000.tar") as shard:
        members = shard.getmembers()
        assert len(members) == 4 * 12 and {member.mtime for member in members} == {0}
        jpeg = shard.extractfile(members[0]).read()
    assert jpeg[:2] == b"\xff\xd8"


def test_frame_times_are_read_from_the_index_alone(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos, tmp_path / "frames", PARAMS, workers=0)
    store = FrameStore(tmp_path / "frames")
    for shard in (tmp_path / "frames").glob("*.tar"):
        shard.unlink()
    frame_times = store.frame_times()
    assert [item.video_id for item in frame_times] == sorted(v.video_id for v in videos)
    assert all(len(item.times) == 12 and np.all(np.diff(item.times) > 0) for item in frame_times)


def test_a_pickled_store_reads_the_same_frames(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    store = FrameStore(tmp_path / "frames")
    store[videos[0].video_id].frames[:] = 0  # a change to a clip changes no later read
    clip = pickle.loads(pickle.dumps(store))[videos[0].video_id]
    assert clip.frames.max() > 0


def test_rejected_videos_are_returned_and_the_others_are_stored(videos: list[Video], tmp_path: Path) -> None:
    short = to_manifest_row(write_video(tmp_path / "short.mp4", 10))
    changed = to_manifest_row(write_video(tmp_path / "changed.mp4", 50))
    with Path(changed.path).open("ab") as file:
        file.write(b"more")
    missing = Video("0" * 16, str(tmp_path / "missing.mp4"), "h264", 96, 64, 25.0, 3.2, 80, "train")
    rejected = write_store([short, *videos, changed, missing], tmp_path / "frames", PARAMS, workers=0)
    reasons = {Path(item.path).name: item.reason for item in rejected}
    assert reasons == {"short.mp4": "too_short", "changed.mp4": "changed_while_read", "missing.mp4": "unreadable"}
    assert set(FrameStore(tmp_path / "frames")) == {v.video_id for v in videos}
    assert sorted(read_files(tmp_path / "frames")) == ["index.parquet", "shard-00000.tar"]


def test_a_video_over_the_time_or_memory_limit_is_rejected_alone(videos: list[Video], tmp_path: Path) -> None:
    slow = Video("0" * 16, str(tmp_path / "slow.mp4"), "h264", 96, 64, 25.0, 3.2, 80, "train")
    os.mkfifo(slow.path)  # reading it blocks forever
    rejected = write_store([*videos, slow], tmp_path / "frames", replace(PARAMS, limits=Limits(seconds=2)), workers=1)
    assert [(item.path, item.reason) for item in rejected] == [(slow.path, "timeout")]
    many_references = {"preset": "ultrafast", "x264-params": "ref=16:bframes=0:keyint=60:rc-lookahead=0:threads=1"}
    large = to_manifest_row(
        write_black(tmp_path / "large.mp4", 40, 2160, 3840, "libx264", "yuv420p", **many_references)
    )
    params = replace(PARAMS, limits=Limits(megabytes=64))
    rejected = write_store([*videos, large], tmp_path / "frames", params, workers=1)
    assert [(item.path, item.reason) for item in rejected] == [(large.path, "out_of_memory")]


def test_near_keyframes_are_chosen_and_stored_with_their_own_times(tmp_path: Path) -> None:
    many_keyframes = {"x264-params": "keyint=5:min-keyint=5:scenecut=0"}
    v = to_manifest_row(write_video(tmp_path / "a.mp4", 100, options=many_keyframes))
    write_store([v], tmp_path / "frames", replace(PARAMS, sampling="keyframes"), workers=0)
    clip = FrameStore(tmp_path / "frames")[v.video_id]
    numbers = [read_number(frame) for frame in clip.frames]
    assert clip.times.tolist() == presentation_times(tmp_path / "a.mp4")[numbers].tolist()
    assert sum(number % 5 == 0 for number in numbers) >= 10


@given(
    steps=st.lists(st.integers(1, 400), min_size=20, max_size=300),
    num_frames=st.integers(2, 48),
    interval=st.integers(1, 60),
)
def test_frames_move_to_keyframes_within_half_a_step_and_never_repeat(
    steps: list[int], num_frames: int, interval: int
) -> None:
    times = np.cumsum([0, *steps]) / 1000
    numbers = choose_frames(times, num_frames, (0.05, 0.95))
    if numbers is not None:
        moved = move_to_keyframes(numbers, times, np.arange(0, len(times), interval))
        half_step = (times[numbers[-1]] - times[numbers[0]]) / (num_frames - 1) / 2
        assert np.all(np.diff(moved) > 0) and numbers[0] <= moved[0] and moved[-1] <= numbers[-1]
        assert np.abs(times[moved] - times[numbers]).max() <= half_step + 1e-9
        assert np.all((moved == numbers) | (moved % interval == 0))


def test_a_table_beside_the_store_says_which_reader_read_each_file_and_why(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos, tmp_path / "frames", replace(PARAMS, verify_fraction=1.0), workers=0)
    choices = pq.read_table(tmp_path / "frames.readers.parquet").to_pylist()
    assert sorted(row["path"] for row in choices) == sorted(v.path for v in videos)
    assert {(row["reader"], tuple(row["wrong"])) for row in choices} == {("pyav_seeking", ())}
    assert all("agrees" in row["why"] for row in choices)
    write_store(videos, tmp_path / "unchecked", replace(PARAMS, verify_fraction=0.0), workers=0)
    assert read_files(tmp_path / "frames") == read_files(tmp_path / "unchecked")


def test_shards_hold_a_fixed_number_of_videos(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos, tmp_path / "frames", PARAMS, workers=0, videos_per_shard=3)
    assert {path.name for path in (tmp_path / "frames").glob("*.tar")} == {"shard-00000.tar", "shard-00001.tar"}
    assert [len(clip) for clip in FrameStore(tmp_path / "frames").values()] == [12] * 4


def test_no_videos_make_an_empty_store(tmp_path: Path) -> None:
    assert write_store([], tmp_path / "frames", PARAMS, workers=0) == []
    assert FrameStore(tmp_path / "frames").frame_times() == []


def test_a_missing_or_damaged_store_raises_a_store_error(videos: list[Video], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run the frames stage"):
        FrameStore(tmp_path / "nowhere")
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    shard = tmp_path / "frames" / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(StoreError, match=r"damaged at video .*: remove .* \.dvc/cache/files, and run again"):
        _ = FrameStore(tmp_path / "frames")[videos[0].video_id].frames


def test_only_the_frames_that_are_asked_for_are_decoded(
    videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    stored = FrameStore(tmp_path / "frames")
    all_frames = stored[videos[0].video_id].frames
    decoded, decode = [], store.simplejpeg.decode_jpeg
    monkeypatch.setattr(store.simplejpeg, "decode_jpeg", lambda *args: decoded.append(args) or decode(*args))
    clip, indices = stored[videos[0].video_id], np.array([3, 1, 3])
    assert not decoded
    first = clip.frames_at(indices)
    assert np.array_equal(first, all_frames[indices])
    first[:] = 0  # the copy of its reader
    assert np.array_equal(clip.frames_at(indices), all_frames[indices])
    assert len(decoded) == 2


def test_an_unknown_video_is_a_key_error(videos: list[Video], tmp_path: Path) -> None:
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    store = FrameStore(tmp_path / "frames")
    assert "unknown" not in store
    with pytest.raises(KeyError):
        store["unknown"]


@given(
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=300),
    num_frames=st.integers(2, 48),
    span=st.sampled_from([(0.05, 0.95), (0.0, 1.0), (0.4, 0.6)]),
)
def test_chosen_frames_are_distinct_and_within_the_span(
    steps: list[int], num_frames: int, span: tuple[float, float]
) -> None:
    times = np.cumsum([0, *steps]) / 1000
    numbers = choose_frames(times, num_frames, span)
    start, stop = span[0] * times[-1] - 1e-6, span[1] * times[-1] + 1e-6
    usable = np.count_nonzero((times >= start) & (times <= stop))
    if numbers is None:
        assert usable < num_frames
    else:
        assert len(numbers) == num_frames and np.all(np.diff(numbers) > 0)
        assert start <= times[numbers[0]] and times[numbers[-1]] <= stop


def test_frames_at_a_constant_rate_are_evenly_spaced() -> None:
    times = np.arange(1800) / 30
    numbers = choose_frames(times, 48, (0.05, 0.95))
    assert numbers is not None
    np.testing.assert_allclose(times[numbers], np.linspace(0.05, 0.95, 48) * times[-1], atol=0.5 / 30 + 1e-9)


def test_a_gap_between_frames_does_not_repeat_a_frame() -> None:
    times = np.concatenate([np.arange(40) / 25, 60 + np.arange(40) / 25])
    numbers = choose_frames(times, 48, (0.0, 1.0))
    assert numbers is not None and len(set(numbers.tolist())) == 48


@pytest.mark.parametrize(
    ("size", "bounds", "fitted"),
    [
        ((720, 1280), (16384, 65536), (192, 320)),
        ((1280, 720), (16384, 65536), (320, 192)),
        ((480, 640), (16384, 65536), (192, 288)),
        ((96, 96), (1024, 4096), (64, 64)),
        ((48, 64), (16384, 65536), (128, 160)),
        ((64, 4096), (1024, 65536), (32, 2048)),
        ((16, 8000), (16384, 65536), (32, 2048)),
    ],
)
def test_fitted_sizes_of_common_and_extreme_videos(
    size: tuple[int, int], bounds: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fitted_size(*size, *bounds) == fitted


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_fitted_sizes_stay_within_the_bounds(height: int, width: int) -> None:
    fitted = fitted_size(height, width, 16384, 65536)
    assert 16384 <= fitted[0] * fitted[1] <= 65536 and fitted[0] % 32 == fitted[1] % 32 == 0


@settings(deadline=None)
@given(st.integers(32, 4000), st.integers(32, 4000))
def test_fitted_sizes_are_those_of_qwens_smart_resize(height: int, width: int) -> None:
    processing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl")
    if max(height, width) / min(height, width) < 50:
        expected = processing.smart_resize(height, width, factor=32, min_pixels=16384, max_pixels=65536)
        assert fitted_size(height, width, 16384, 65536) == tuple(expected)


def test_parameters_out_of_range_raise_a_config_error() -> None:
    for wrong in (
        {"num_frames": 1},
        {"span": (0.9, 0.1)},
        {"min_pixels": 10},
        {"min_pixels": 9000, "max_pixels": 4096},
        {"bench_max_pixels": 4096},
    ):
        with pytest.raises(ConfigError):
            FramesParams(**wrong)
