"""A long video becomes windows: videos of their own, in one split, whose frames are those of the file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import SHARED
from tests.support.ingesting import SMALL, ingest_path, ingest_source
from tests.support.videos import KINDS, decode_all_frames, read_number, write_video
from videossr.decode import presentation_times
from videossr.errors import ConfigError, SourceError
from videossr.frames import encoding
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.ingest.inventory import Inventory, require_usable
from videossr.ingest.params import IngestParams
from videossr.records import Video, source_of

FRAMES = FramesParams(num_frames=12, max_pixels=64 * 96, min_pixels=1024)


def ingest_windows(
    source: Path, tmp_path: Path, seconds: float, stride: float | None = None, work_dir: Path | None = None
) -> Inventory:
    params = IngestParams(str(source), window_seconds=seconds, window_stride_seconds=stride)
    return ingest_source(params, tmp_path / "made", workers=0, min_frames=FRAMES.num_frames, work_dir=work_dir)


def folder_of(tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in names:
        write_video(folder / name, **{"options": {"crf": "10"}, **KINDS[name]})
    return folder


def bounds(videos: Sequence[Video]) -> list[tuple[float, float] | None]:
    return [video.window_seconds for video in videos]


def test_a_long_video_is_cut_into_whole_windows_and_a_short_one_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "long.mp4", 85, **SMALL)  # 3.4 seconds
    write_video(folder / "short.mp4", 25, **SMALL)  # exactly a window
    *windows, short = ingest_windows(folder, tmp_path, 1.0).videos
    assert bounds(windows) == [(0, 1), (1, 2), (2, 3)]
    assert short == ingest_path(folder, tmp_path, min_frames=12).videos[1]
    assert [(video.num_frames, video.duration_seconds) for video in windows] == [(25, 1.0)] * 3
    assert [video.name for video in windows] == [f"{folder / 'long.mp4'}#t={i},{i + 1}" for i in range(3)]
    assert len({video.video_id for video in windows}) == 3
    assert {source_of(video.video_id) for video in windows} == {ingest_path(folder, tmp_path).videos[0].video_id}


def test_windows_overlap_where_the_stride_is_shorter(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_b_frames.mp4")
    assert bounds(ingest_windows(folder, tmp_path, 1.6, 0.8).videos) == [(0, 1.6), (0.8, 2.4), (1.6, 3.2)]


def test_the_id_of_a_window_depends_on_the_content_and_the_bounds_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_b_frames.mp4")
    ids = [video.video_id for video in ingest_windows(folder, tmp_path, 1.0).videos]
    (folder / "h264_b_frames.mp4").rename(folder / "renamed.mp4")
    assert [video.video_id for video in ingest_windows(folder, tmp_path, 1.0, 1.0).videos] == ids
    assert not {video.video_id for video in ingest_windows(folder, tmp_path, 1.5).videos} & set(ids)


def test_all_windows_of_a_source_are_in_its_split(source: Path, tmp_path: Path) -> None:
    whole = {video.video_id: video.split for video in ingest_path(source, tmp_path, min_frames=12).videos}
    windows = ingest_windows(source, tmp_path, 0.8, 0.2).videos
    assert len(windows) == 3 * len(whole)
    assert {source_of(video.video_id): video.split for video in windows} == whole
    assert all(video.split == whole[source_of(video.video_id)] for video in windows)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "h264_gap.mp4"])
def test_every_stored_frame_is_the_frame_of_a_full_decode_at_the_start_of_the_window_plus_its_time(
    name: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, name)
    times, decoded = presentation_times(folder / name), decode_all_frames(folder / name)
    inventory = ingest_windows(folder, tmp_path, 1.0, 0.7)
    assert write_store(inventory.videos, tmp_path / "frames", FRAMES, workers=0) == []
    store = FrameStore(tmp_path / "frames")
    assert len(store) == len(inventory.videos) > 1
    for video in inventory.videos:
        clip = store[video.video_id]
        assert video.window_seconds is not None
        start = times[times >= video.window_seconds[0] - 1e-6][0]  # the first frame of the window
        numbers = [int(np.argmin(np.abs(times - start - seconds))) for seconds in clip.times]
        assert times[numbers] == pytest.approx(start + clip.times, abs=1e-9)
        assert 0 <= clip.times[0] < clip.times[-1] < 1.0
        assert [read_number(frame) for frame in clip.frames] == numbers
        difference = np.abs(clip.frames.astype(int) - np.stack([decoded[number] for number in numbers]))
        assert difference.mean() < 3  # JPEG and another scaler


def test_a_file_is_hashed_and_probed_once_for_all_its_windows(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_b_frames.mp4", "h264.mkv")
    videos = ingest_windows(folder, tmp_path, 1.0).videos
    assert len(videos) == 6
    caches = encoding._hash_file, encoding._probe_file
    for cache in caches:
        cache.cache_clear()
    write_store(videos, tmp_path / "frames", FRAMES, workers=0)
    assert [cache.cache_info().misses for cache in caches] == [2, 2]


def test_a_window_without_enough_frames_is_rejected_by_name_and_the_others_are_used(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_gap.mp4")  # nothing is shown from 1.6 to 31.6 seconds
    inventory = ingest_windows(folder, tmp_path, 1.0)
    assert bounds(inventory.videos) == [(0, 1), (1, 2), (32, 33)]
    names = [file.path for file in inventory.rejected]
    assert f"{folder / 'h264_gap.mp4'}#t=2,3" in names
    assert len(names) == 33 - 3
    assert {file.reason for file in inventory.rejected} == {"too_short"}


def test_a_file_without_a_usable_window_is_too_short_and_the_remedy_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_b_frames.mp4")
    inventory = ingest_windows(folder, tmp_path, 0.3)
    assert inventory.videos == []
    assert [file.reason for file in inventory.rejected] == ["too_short"]
    assert "raise ingest.window_seconds" in inventory.rejected[0].detail
    with pytest.raises(SourceError, match="too_short"):
        require_usable(inventory, str(folder))


def test_a_window_that_cannot_be_decoded_is_rejected_by_name_and_the_others_are_stored(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_all_key.mp4")
    path = folder / "h264_all_key.mp4"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 12] = bytes(len(data) // 12)
    path.write_bytes(data)
    videos = ingest_windows(folder, tmp_path, 1.0).videos
    rejected = write_store(videos, tmp_path / "frames", replace(FRAMES, min_whole=1.0), workers=0)
    assert [file.path for file in rejected] == [videos[1].name]
    assert set(FrameStore(tmp_path / "frames")) == {videos[0].video_id, videos[2].video_id}


def test_windows_come_from_the_cache_and_other_windows_discard_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "h264_b_frames.mp4")
    first = ingest_windows(folder, tmp_path, 1.0, work_dir=tmp_path)
    rows = (tmp_path / "inspections.jsonl").read_bytes()
    assert ingest_windows(folder, tmp_path, 1.0, work_dir=tmp_path) == first
    assert (tmp_path / "inspections.jsonl").read_bytes() == rows
    assert bounds(ingest_windows(folder, tmp_path, 1.5, work_dir=tmp_path).videos) == [(0, 1.5), (1.5, 3)]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"window_seconds": 0}, "window_seconds must be at least 0.1, got 0"),
        ({"window_seconds": float("nan")}, "window_seconds must be at least 0.1"),
        ({"window_seconds": 5.0, "window_stride_seconds": -1.0}, "window_stride_seconds must be at least 0.1"),
        ({"window_stride_seconds": 5.0}, "window_stride_seconds needs window_seconds"),
    ],
)
def test_bad_windows_are_one_sentence(changes: dict[str, float], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        IngestParams("videos", **changes)  # type: ignore[arg-type]


@pytest.mark.skipif(not (SHARED / "videos").is_dir(), reason="the shared clips are not here")
def test_real_clips_are_cut_and_every_window_is_stored(tmp_path: Path) -> None:
    inventory = ingest_windows(SHARED / "videos", tmp_path, 5.0)
    assert len(inventory.videos) > 7
    assert write_store(inventory.videos, tmp_path / "frames", FRAMES, workers=0) == []
    assert len(FrameStore(tmp_path / "frames")) == len(inventory.videos)
