"""A folder of any files becomes a manifest of usable videos and a list of rejected files with reasons."""

import os
import shutil
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.support import SHARED
from tests.support.ingesting import SMALL, ingest_path, ingest_source, reasons
from tests.support.videos import write_audio, write_video
from videossr.decode import REASONS
from videossr.errors import ConfigError, SourceError
from videossr.ingest.inventory import require_usable
from videossr.ingest.manifest import read_manifest, require_present, write_manifest
from videossr.ingest.params import IngestParams
from videossr.records import RejectedFile
from videossr.storage.quarantine import read_quarantine, write_quarantine


def test_every_video_below_the_folder_is_in_the_manifest_with_its_properties(source: Path, tmp_path: Path) -> None:
    inventory = ingest_path(source, tmp_path)
    assert inventory.rejected == []
    assert [Path(v.path).name for v in inventory.videos] == ["a.mp4", "b.MKV", "c.webm", "d.mov", "e.avi"]
    assert [v.codec for v in inventory.videos] == ["h264", "h264", "vp8", "h264", "mpeg4"]
    for video in inventory.videos:
        assert (video.width, video.height, len(video.video_id)) == (32, 32, 16)
        assert video.fps == pytest.approx(25, rel=1e-2)
        assert video.duration_seconds == pytest.approx(video.num_frames / 25, rel=1e-2)
    assert [path.name for path in (tmp_path / "made_videos").iterdir()] == ["README.txt"]


def test_the_result_does_not_depend_on_workers(source: Path, tmp_path: Path) -> None:
    assert ingest_path(source, tmp_path, workers=0) == ingest_path(source, tmp_path, workers=3)


def test_each_bad_file_is_rejected_with_a_reason(source: Path, tmp_path: Path) -> None:
    whole = (source / "a.mp4").read_bytes()
    (source / "text.mp4").write_text("this is no video\n" * 9)
    (source / "empty.mp4").write_bytes(b"")
    (source / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "copy.mp4").write_bytes(whole)
    write_audio(source / "song.mp4")
    write_video(source / "two frames.mp4", 2, **SMALL)
    inventory = ingest_path(source, tmp_path)
    assert reasons(inventory) == {
        "text.mp4": "not_a_video",
        "empty.mp4": "not_a_video",
        "half.mp4": "not_a_video",
        "copy.mp4": "duplicate",
        "song.mp4": "no_video_stream",
        "two frames.mp4": "too_short",
    }
    assert len(inventory.videos) == 5
    assert all(item.reason in REASONS and item.detail for item in inventory.rejected)
    assert any("a.mp4" in item.detail for item in inventory.rejected if item.reason == "duplicate")


def test_a_file_with_an_odd_name_is_read_or_rejected_without_a_crash(source: Path, tmp_path: Path) -> None:
    names = [
        'it\'s a "name".mp4',
        "..up..mp4",
        "-rf.mp4",
        "%03d.mp4",
        "concat:x.mp4",
        "ünï.mp4",
        ".mp4.mp4",
    ]
    for number, name in enumerate(names):
        write_video(source / name, 40 + number, **SMALL)
    bad = os.fsencode(source) + b"/bad\xff.mp4"
    shutil.copy(source / "a.mp4", bad)
    write_video(source / "new\nline.mp4", 60, **SMALL)
    inventory = ingest_path(source, tmp_path)
    assert reasons(inventory) == {"bad\\xff.mp4": "bad_name", "new\nline.mp4": "bad_name"}
    assert {Path(v.path).name for v in inventory.videos} >= set(names)
    write_manifest(tmp_path / "manifest.parquet", inventory.videos)
    assert all(Path(v.path).is_file() for v in read_manifest(tmp_path / "manifest.parquet"))


def test_links_out_of_the_folder_and_special_files_are_rejected(source: Path, tmp_path: Path) -> None:
    outside = write_video(tmp_path / "outside.mp4", 50, **SMALL)
    (source / "out.mp4").symlink_to(outside)
    (source / "outfolder").symlink_to(tmp_path)
    (source / "broken.mp4").symlink_to(source / "nothing")
    (source / "loop.mp4").symlink_to(source / "loop.mp4")
    (source / "device.mp4").symlink_to("/dev/zero")
    (source / "inside.mp4").symlink_to(source / "a.mp4")
    os.mkfifo(source / "pipe.mp4")
    inventory = ingest_path(source, tmp_path)
    assert reasons(inventory) == {
        "out.mp4": "outside_source",
        "outfolder": "outside_source",
        "broken.mp4": "unreadable",
        "loop.mp4": "unreadable",
        "device.mp4": "outside_source",
        "inside.mp4": "duplicate",
        "pipe.mp4": "unreadable",
    }
    assert len(inventory.videos) == 5


def test_a_new_video_does_not_change_the_split_of_another(source: Path, tmp_path: Path) -> None:
    before = ingest_path(source, tmp_path).videos
    write_video(source / "another.mp4", 60, **SMALL)
    after = {v.video_id: v.split for v in ingest_path(source, tmp_path).videos}
    moved = [v for v in before if after[v.video_id] != v.split]
    assert len(moved) <= 1  # one may change its split if a split would have been empty


@pytest.mark.parametrize("bench_fraction", [0.0001, 0.9999])
def test_two_videos_are_enough_for_both_splits(source: Path, tmp_path: Path, bench_fraction: float) -> None:
    for name in ("c.webm", "deep/d.mov", "deep/er/e.avi"):
        (source / name).unlink()
    inventory = ingest_path(source, tmp_path, bench_fraction=bench_fraction)
    assert Counter(v.split for v in inventory.videos) == {"train": 1, "bench": 1}


def test_only_frames_within_the_stored_span_are_counted(source: Path, tmp_path: Path) -> None:
    inventory = ingest_path(source, tmp_path, min_frames=29)
    assert reasons(inventory) == {"a.mp4": "too_short", "b.MKV": "too_short", "c.webm": "too_short"}


def test_the_error_for_no_usable_video_counts_the_files_by_reason(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "source" / name).write_text("no video, but " + name)
    inventory = ingest_path(tmp_path / "source", tmp_path)
    with pytest.raises(SourceError, match=r"none of the 2 files .*2 not_a_video"):
        require_usable(inventory, "source")


def test_the_error_for_videos_moved_after_ingest_is_one_sentence(source: Path, tmp_path: Path) -> None:
    videos = ingest_path(source, tmp_path).videos
    (source / "a.mp4").unlink()
    require_present(videos)
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="none of the 5 videos is where ingest found it"):
        require_present(videos)


def test_videos_behind_a_url_are_fetched_once_and_give_the_same_manifest(source: Path, tmp_path: Path) -> None:
    remote = fsspec.filesystem("memory")
    for path in source.rglob("*.*"):
        remote.put_file(str(path), f"/bucket/{path.relative_to(source)}")
    fetched, made = tmp_path / "fetched", tmp_path / "made_videos"
    fetched.mkdir()
    (fetched / "left over.mp4").write_bytes(b"of another source")
    params = IngestParams("memory://bucket", bench_fraction=0.3)
    inventory = ingest_source(params, made, workers=0, min_frames=16, fetched_dir=fetched)
    here = ingest_path(source, tmp_path / "other")
    assert [(v.video_id, v.split) for v in inventory.videos] == [(v.video_id, v.split) for v in here.videos]
    assert {str(Path(v.path).relative_to(fetched)) for v in inventory.videos} >= {"a.mp4", "deep/er/e.avi"}
    stamps = {path: path.stat().st_mtime_ns for path in fetched.rglob("*") if path.is_file()}
    assert len(stamps) == 5 and [path.name for path in made.iterdir()] == ["README.txt"]
    assert ingest_source(params, made, workers=0, min_frames=16, fetched_dir=fetched) == inventory
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(SourceError, match="cannot be reached"):
        ingest_source(IngestParams("nosuch://bucket"), made, workers=0)


def test_manifest_and_quarantine_are_read_as_they_were_written(source: Path, tmp_path: Path) -> None:
    inventory = ingest_path(source, tmp_path)
    write_manifest(tmp_path / "data" / "manifest.parquet", inventory.videos)
    assert read_manifest(tmp_path / "data" / "manifest.parquet") == inventory.videos
    rejected = [RejectedFile("a\nb.mp4", "too_short", "2 frames"), RejectedFile("c", "corrupt")]
    for rows in (rejected, []):
        write_quarantine(tmp_path / "data" / "quarantine.parquet", rows)
        assert read_quarantine(tmp_path / "data" / "quarantine.parquet") == rows
    assert not list((tmp_path / "data").glob("*.partial"))


def test_parameters_out_of_range_are_errors() -> None:
    for wrong in ({"bench_fraction": 0.0}, {"bench_fraction": 1.0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            IngestParams("x", **wrong)


def test_every_real_clip_is_usable(tmp_path: Path) -> None:
    clips = SHARED / "videos"
    if not clips.is_dir():
        pytest.skip("the real clips are not here")
    inventory = ingest_source(IngestParams(str(clips)), tmp_path / "made_videos", workers=0)
    assert reasons(inventory) == {} and len(inventory.videos) == 7
    assert np.all([v.num_frames >= 48 for v in inventory.videos])
