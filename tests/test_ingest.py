"""A folder of anything becomes a manifest of what can be used and a list of what cannot, and why."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import write_audio, write_frames, write_video

from videossr.decode import REASONS
from videossr.errors import ConfigError, SourceError
from videossr.examined import examine_all
from videossr.ingest import (
    IngestParams,
    Inventory,
    ingest,
    read_manifest,
    read_quarantine,
    require_present,
    require_usable,
    write_manifest,
    write_quarantine,
)
from videossr.likeness import MAX_DIFFERENT_BITS, Likeness, groups_alike, likeness
from videossr.parallel import Limits
from videossr.records import Rejected

SMALL = {"height": 32, "width": 32, "options": {"preset": "ultrafast"}}


def take_in(
    source: Path, tmp_path: Path, workers: int = 0, bench_fraction: float = 0.3, min_frames: int = 16
) -> Inventory:
    params = IngestParams(str(source), bench_fraction=bench_fraction)
    return ingest(params, tmp_path / "made_videos", workers, min_frames=min_frames)


def reasons(inventory: Inventory) -> dict[str, str]:
    return {Path(item.path).name: item.reason for item in inventory.rejected}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five good videos of different content in two folders."""
    folder = tmp_path / "my videos"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(["a.mp4", "b.MKV", "c.webm", "deep/d.mov", "deep/er/e.avi"]):
        codec = "libvpx" if name.endswith("webm") else "mpeg4" if name.endswith("avi") else "libx264"
        options = {} if codec != "libx264" else {"preset": "ultrafast"}
        kind = "matroska" if name.endswith("MKV") else None
        path = folder / name
        write_video(path, 30 + number, height=32, width=32, codec=codec, options=options, container_format=kind)
    (folder / "notes.txt").write_text("no video")
    return folder


def test_every_video_below_the_folder_is_listed_with_its_facts(source: Path, tmp_path: Path) -> None:
    inventory = take_in(source, tmp_path)
    assert inventory.rejected == []
    assert [Path(v.path).name for v in inventory.videos] == ["a.mp4", "b.MKV", "c.webm", "d.mov", "e.avi"]
    assert [v.codec for v in inventory.videos] == ["h264", "h264", "vp8", "h264", "mpeg4"]
    for video in inventory.videos:
        assert (video.width, video.height, len(video.video_id)) == (32, 32, 16)
        assert video.fps == pytest.approx(25, rel=1e-2)
        assert video.duration_seconds == pytest.approx(video.num_frames / 25, rel=1e-2)
    assert (tmp_path / "made_videos").is_dir() and not any((tmp_path / "made_videos").iterdir())


def test_the_result_does_not_depend_on_workers(source: Path, tmp_path: Path) -> None:
    assert take_in(source, tmp_path, workers=0) == take_in(source, tmp_path, workers=3)


def test_bad_files_are_quarantined_with_a_reason(source: Path, tmp_path: Path) -> None:
    whole = (source / "a.mp4").read_bytes()
    (source / "text.mp4").write_text("this is no video\n" * 9)
    (source / "empty.mp4").write_bytes(b"")
    (source / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "copy.mp4").write_bytes(whole)
    write_audio(source / "song.mp4")
    write_video(source / "two frames.mp4", 2, **SMALL)
    inventory = take_in(source, tmp_path)
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


def test_odd_names_are_read_or_refused_never_a_crash(source: Path, tmp_path: Path) -> None:
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
    inventory = take_in(source, tmp_path)
    assert reasons(inventory) == {"bad\\xff.mp4": "bad_name", "new\nline.mp4": "bad_name"}
    assert {Path(v.path).name for v in inventory.videos} >= set(names)
    write_manifest(tmp_path / "manifest.parquet", inventory.videos)
    assert all(Path(v.path).is_file() for v in read_manifest(tmp_path / "manifest.parquet"))


def test_links_and_special_files_are_refused(source: Path, tmp_path: Path) -> None:
    outside = write_video(tmp_path / "outside.mp4", 50, **SMALL)
    (source / "out.mp4").symlink_to(outside)
    (source / "outfolder").symlink_to(tmp_path)
    (source / "broken.mp4").symlink_to(source / "nothing")
    (source / "loop.mp4").symlink_to(source / "loop.mp4")
    (source / "device.mp4").symlink_to("/dev/zero")
    (source / "inside.mp4").symlink_to(source / "a.mp4")
    os.mkfifo(source / "pipe.mp4")
    inventory = take_in(source, tmp_path)
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


def test_the_first_half_of_a_hash_names_and_the_second_splits(source: Path, tmp_path: Path) -> None:
    before = take_in(source, tmp_path).videos
    write_video(source / "another.mp4", 60, **SMALL)
    after = {v.video_id: v.split for v in take_in(source, tmp_path).videos}
    moved = [v for v in before if after[v.video_id] != v.split]
    assert len(moved) <= 1  # one may move where a half would have been empty


@pytest.mark.parametrize("bench_fraction", [0.0001, 0.9999])
def test_two_videos_are_enough_for_both_halves(source: Path, tmp_path: Path, bench_fraction: float) -> None:
    for name in ("c.webm", "deep/d.mov", "deep/er/e.avi"):
        (source / name).unlink()
    inventory = take_in(source, tmp_path, bench_fraction=bench_fraction)
    assert Counter(v.split for v in inventory.videos) == {"train": 1, "bench": 1}


def test_frames_are_counted_within_the_span_that_is_stored(source: Path, tmp_path: Path) -> None:
    inventory = take_in(source, tmp_path, min_frames=29)
    assert reasons(inventory) == {"a.mp4": "too_short", "b.MKV": "too_short", "c.webm": "too_short"}


def test_a_source_that_is_no_folder_of_videos_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.mp4").write_bytes(b"")
    (tmp_path / "made_videos").mkdir()
    (tmp_path / "bad.yaml").write_text("num_videos: [")
    for source, words in {
        "empty": "no videos under",
        "absent": "does not exist",
        "one.mp4": "is one file",
        "made_videos": "is emptied",
        "bad.yaml": "not valid YAML",
    }.items():
        with pytest.raises(SourceError, match=words):
            take_in(tmp_path / source, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_one_sentence(source: Path, tmp_path: Path) -> None:
    source.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        take_in(source, tmp_path)
    source.chmod(0o755)


def test_a_source_without_one_usable_video_says_how_many_and_why(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "source" / name).write_text("no video, but " + name)
    inventory = take_in(tmp_path / "source", tmp_path)
    with pytest.raises(SourceError, match=r"none of the 2 files .*2 not_a_video"):
        require_usable(inventory, "source")


def test_copies_in_other_bytes_stay_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        scene = cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (192, 160), interpolation=cv2.INTER_CUBIC)
        kinds = (("a.mp4", (96, 64), "libx264"), ("b.webm", (128, 96), "libvpx"), ("c.mkv", (80, 48), "mpeg4"))
        for name, size, codec in kinds:
            frames = [cv2.resize(scene[t : t + 128, t : t + 150], size) for t in range(30)]
            write_frames(tmp_path / "source" / f"{number}-{name}", frames, codec)
    inventory = take_in(tmp_path / "source", tmp_path, bench_fraction=0.5)
    sides: dict[str, set[str]] = {}
    for video in inventory.videos:
        sides.setdefault(Path(video.path).name.split("-")[0], set()).add(video.split)
    assert len(inventory.videos) == 36 and all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"train", "bench"}


def test_copies_of_a_video_that_begins_black_or_plain_stay_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        scene = cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        start, fade, plain = rng.integers(0, 40), rng.integers(5, 40), rng.integers(0, 255, 3) * (number % 2)
        shown = np.clip((np.arange(90) - start) / fade, 0, 1)
        faded = [scene[t // 4 : t // 4 + 56, t // 4 : t // 4 + 72] * w + plain * (1 - w) for t, w in enumerate(shown)]
        for name, size, codec in (
            ("a.mp4", (96, 64), "libx264"),
            ("b.mkv", (80, 64), "mpeg4"),
            ("c.avi", (80, 48), "mpeg4"),
        ):
            frames = [cv2.resize(picture.astype(np.uint8), size) for picture in faded]
            write_frames(tmp_path / "source" / f"{number}-{name}", frames, codec)
    inventory = take_in(tmp_path / "source", tmp_path, bench_fraction=0.5)
    sides: dict[str, set[str]] = {}
    for video in inventory.videos:
        sides.setdefault(Path(video.path).name.split("-")[0], set()).add(video.split)
    assert len(inventory.videos) == 15 and all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"train", "bench"}


def test_pictures_without_structure_make_no_likeness_and_later_ones_are_not_drawn() -> None:
    plain, first = np.full((16, 17), 90, np.uint8), np.arange(272, dtype=np.uint8).reshape(16, 17)

    def pictures() -> Iterator[np.ndarray]:
        yield from (plain, first)
        raise AssertionError("drawn in vain")

    assert likeness([plain, plain], 5.0) == Likeness(b"", 5.0)
    assert likeness(pictures(), 5.0) == likeness([first], 5.0) != Likeness(b"", 5.0)


@given(bits=st.sets(st.integers(0, 255), max_size=40), seconds=st.sampled_from([0.0, 0.04, 0.06, 1.0]))
def test_videos_are_alike_by_few_different_bits_and_equal_length(bits: set[int], seconds: float) -> None:
    rows = np.random.default_rng(0).integers(0, 2**16, 16).astype(np.uint16)
    changed = rows.copy()
    for bit in bits:
        changed[bit % 16] ^= 1 << bit // 16
    items = [Likeness(rows.tobytes(), 5.0), Likeness(b"", 5.0), Likeness(changed.tobytes(), 5.0 + seconds)]
    alike = len(bits) <= MAX_DIFFERENT_BITS and seconds <= 0.05
    assert groups_alike(items) == [0, 1, 0 if alike else 2]


def test_copies_are_found_in_a_crowd_that_shares_black_bars_and_a_crowd_of_copies_is_one_group() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2**16, (6000, 16)).astype(np.uint16)
    rows[:, [0, 1, 14, 15]] = 0
    rows[3000:] = rows[0]
    rows[np.arange(6000), rng.integers(0, 16, 6000)] ^= 1  # no two are the same to the bit
    rows[1:2000:2] = rows[0:2000:2]
    for change in range(5):
        rows[np.arange(1, 2000, 2), (change + np.arange(1000)) % 16] ^= 1 << change
    groups = groups_alike([Likeness(row.tobytes(), 10.0) for row in rows])
    assert groups[2:2000:2] == groups[3:2000:2] == list(range(2, 2000, 2))
    assert groups[2000:3000] == list(range(2000, 3000)) and set(groups[3000:]) == {0}


def test_a_list_names_videos_wherever_they_lie(source: Path, tmp_path: Path) -> None:
    good = ["my videos/a.mp4", str(source / "deep" / "d.mov")]
    names = [*good, "my videos/absent.mp4", "my videos", "my videos/deep/../c.webm", "/dev/zero", "my videos/a\tb.mp4"]
    (tmp_path / "list.txt").write_text("\n".join([*names, "", good[0]]), encoding="utf-8")
    pq.write_table(pa.table({"path": names}), tmp_path / "list.parquet")
    by_text, by_table = (take_in(tmp_path / name, tmp_path) for name in ("list.txt", "list.parquet"))
    assert by_text == by_table and [Path(v.path).name for v in by_text.videos] == ["a.mp4", "d.mov"]
    assert sorted(item.reason for item in by_text.rejected) == ["bad_name"] * 2 + ["unreadable"] * 3


def test_a_file_that_a_list_names_in_several_ways_is_one_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (source / "text.mp4").write_text("no video")
    for listed in ("a.mp4", "text.mp4", "absent.mp4"):
        for names in itertools.permutations((listed, f"./{listed}", str(source / listed))):
            (source / "list.txt").write_text("\n".join(names), encoding="utf-8")
            pq.write_table(pa.table({"path": names}), source / "list.parquet")
            for kind in ("list.txt", "list.parquet"):
                inventory = take_in(Path("my videos") / kind, tmp_path)
                paths = [row.path for row in (*inventory.videos, *inventory.rejected)]
                assert paths == [str(Path("my videos") / names[0])]
    (tmp_path / "linked").symlink_to(source)
    (source / "list.txt").write_text(f"{tmp_path}/linked/a.mp4\na.mp4\n{source}/a.mp4\n", encoding="utf-8")
    for folder in (tmp_path / "linked", Path("linked") / ".." / "my videos"):
        inventory = take_in(folder / "list.txt", tmp_path)
        assert [v.path for v in inventory.videos] == [f"{tmp_path}/linked/a.mp4"] and inventory.rejected == []
    (source / "list.txt").write_text("deep/../a.mp4\na.mp4\n", encoding="utf-8")
    inventory = take_in(source / "list.txt", tmp_path)
    assert len(inventory.videos) == 1 and [item.reason for item in inventory.rejected] == ["bad_name"]
    (source / "deep" / "same.mp4").symlink_to(source / "a.mp4")
    (source / "list.txt").write_text("a.mp4\ndeep/same.mp4\n", encoding="utf-8")
    inventory = take_in(source / "list.txt", tmp_path)
    assert reasons(inventory) == {"same.mp4": "duplicate"} and len(inventory.videos) == 1


def test_a_tilde_before_no_user_is_a_name_like_any_other(source: Path, tmp_path: Path) -> None:
    (source / "a.mp4").rename(source / "~backup.mp4")
    (source / "deep").rename(source / "~nobody here")
    (source / "list.txt").write_text("~backup.mp4\n~nobody here/d.mov\n~no one.mp4\n~\0.mp4\n", encoding="utf-8")
    inventory = take_in(source / "list.txt", tmp_path)
    assert [Path(v.path).name for v in inventory.videos] == ["~backup.mp4", "d.mov"]
    assert reasons(inventory) == {"~no one.mp4": "unreadable", "~\0.mp4": "bad_name"}
    with pytest.raises(SourceError, match="does not exist"):
        take_in(Path("~nobody here"), tmp_path)


def test_a_list_is_parted_at_line_feeds_alone_and_may_begin_with_a_mark(source: Path, tmp_path: Path) -> None:
    odd = [f"a{character}b.mp4" for character in "\u2028\u2029 \u3000"]
    for number, name in enumerate(odd):
        write_video(source / name, 40 + number, **SMALL)
    (source / "list.txt").write_bytes("\r\n".join(["c.webm", "", *odd, "a\rb.mp4", ""]).encode("utf-8-sig"))
    inventory = take_in(source / "list.txt", tmp_path)
    assert [Path(v.path).name for v in inventory.videos] == ["c.webm", *odd]
    assert reasons(inventory) == {"a\rb.mp4": "bad_name"}


def test_a_source_may_lie_above_the_project(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source / "deep")
    assert len(take_in(Path("..") / ".." / "my videos", tmp_path).videos) == 5


def test_a_list_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"name": ["a.mp4"]}), tmp_path / "other.parquet")
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("bytes.txt", "text.parquet", "other.parquet"):
        with pytest.raises(SourceError, match="is no list of videos"):
            take_in(tmp_path / name, tmp_path)
    with pytest.raises(SourceError, match="no videos under"):
        take_in(tmp_path / "empty.txt", tmp_path)
    (tmp_path / "urls.txt").write_text("a.mp4\ns3://me:secret@bucket/a.mp4\n")
    with pytest.raises(SourceError, match="names URLs") as caught:
        take_in(tmp_path / "urls.txt", tmp_path)
    assert "secret" not in str(caught.value)


def test_videos_that_were_all_moved_since_ingest_are_one_sentence(source: Path, tmp_path: Path) -> None:
    videos = take_in(source, tmp_path).videos
    (source / "a.mp4").unlink()
    require_present(videos)
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="none of the 5 videos is where ingest found it"):
        require_present(videos)


def test_videos_behind_a_url_are_fetched_once_and_stay_the_same(source: Path, tmp_path: Path) -> None:
    remote = fsspec.filesystem("memory")
    for path in source.rglob("*.*"):
        remote.put_file(str(path), f"/bucket/{path.relative_to(source)}")
    fetched, made = tmp_path / "fetched", tmp_path / "made_videos"
    fetched.mkdir()
    (fetched / "left over.mp4").write_bytes(b"of another source")
    params = IngestParams("memory://bucket", bench_fraction=0.3)
    inventory = ingest(params, made, workers=0, min_frames=16, fetched_dir=fetched)
    here = take_in(source, tmp_path / "other")
    assert [(v.video_id, v.split) for v in inventory.videos] == [(v.video_id, v.split) for v in here.videos]
    assert {str(Path(v.path).relative_to(fetched)) for v in inventory.videos} >= {"a.mp4", "deep/er/e.avi"}
    stamps = {path: path.stat().st_mtime_ns for path in fetched.rglob("*") if path.is_file()}
    assert len(stamps) == 5 and not any(made.iterdir())
    assert ingest(params, made, workers=0, min_frames=16, fetched_dir=fetched) == inventory
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(SourceError, match="cannot be reached"):
        ingest(IngestParams("nosuch://bucket"), made, workers=0)


def take_in_and_keep(source: Path, work: Path, min_frames: int = 16) -> Inventory:
    params = IngestParams(str(source))
    return ingest(params, work / "made_videos", workers=0, min_frames=min_frames, work_dir=work)


def lines_of(work: Path) -> list[str]:
    return (work / "examined.jsonl").read_text().splitlines(keepends=True)


def opened_while(source: Path, work: Path, kill_at: str = "") -> set[str]:
    """The names of the files that `take_in_and_keep` opens in a process, killed where it opens `kill_at`."""
    reader, writer = get_context("spawn").Pipe(duplex=False)
    run = get_context("spawn").Process(target=_tell_what_is_opened, args=(source, work, kill_at, writer))
    run.start()
    writer.close()
    names = set()
    with suppress(EOFError):
        while True:
            names.add(reader.recv())
    run.join()
    assert run.exitcode == (-signal.SIGKILL if kill_at else 0)
    return names


def _tell_what_is_opened(source: Path, work: Path, kill_at: str, writer: "Connection[str, str]") -> None:
    def watch(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and str(args[0]).startswith(str(source)):
            writer.send(Path(str(args[0])).name)
            if Path(str(args[0])).name == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    take_in_and_keep(source, work)


def test_a_killed_run_goes_on_behind_the_last_file_that_it_examined(source: Path, tmp_path: Path) -> None:
    (source / "bad.mp4").write_text("no video")
    work = tmp_path / "work"
    assert opened_while(source, work, kill_at="c.webm") == {"a.mp4", "b.MKV", "bad.mp4", "c.webm"}
    with (work / "examined.jsonl").open("a") as record:
        record.write(lines_of(work)[-1][:40])  # a kill may tear the last line
    assert opened_while(source, work) == {"c.webm", "d.mov", "e.avi"}
    assert opened_while(source, work) == set()
    assert take_in_and_keep(source, work) == take_in(source, tmp_path)


def test_a_file_that_changed_is_examined_again_however_well_it_hides_it(source: Path, tmp_path: Path) -> None:
    work, path = tmp_path / "work", source / "a.mp4"
    before = take_in_and_keep(source, work)
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = take_in_and_keep(source, work)
    assert after == take_in(source, tmp_path) != before
    path.write_text("no video")
    write_video(source / "new.mp4", 40, **SMALL)
    assert reasons(take_in_and_keep(source, work)) == {"a.mp4": "not_a_video"}
    assert take_in_and_keep(source, work) == take_in(source, tmp_path)


def test_other_parameters_or_another_version_of_the_code_examine_anew(source: Path, tmp_path: Path) -> None:
    assert take_in_and_keep(source, tmp_path / "work").rejected == []
    assert take_in_and_keep(source, tmp_path / "work", min_frames=29) == take_in(source, tmp_path, min_frames=29)
    lines = lines_of(tmp_path / "work")
    old = json.dumps({**json.loads(lines[0]), "version": "another"}) + "\n"
    (tmp_path / "work" / "examined.jsonl").write_text(old + "".join(lines[1:]).replace("h264", "of old"))
    assert take_in_and_keep(source, tmp_path / "work", min_frames=29) == take_in(source, tmp_path, min_frames=29)


def test_what_may_end_otherwise_is_tried_again_and_what_is_no_longer_listed_is_forgotten(
    source: Path, tmp_path: Path
) -> None:
    record = tmp_path / "work" / "examined.jsonl"
    hanging, folder, video = source / "hanging.mp4", source / "folder.mp4", source / "a.mp4"
    os.mkfifo(hanging)  # whoever reads it waits for ever
    folder.mkdir()
    examine_kept = partial(examine_all, min_frames=16, span=(0.05, 0.95), limits=Limits(seconds=1), record=record)
    timeout, unreadable, fine = examine_kept([hanging, folder, video], workers=1)
    assert isinstance(timeout, Rejected) and isinstance(unreadable, Rejected)
    assert (timeout.reason, unreadable.reason) == ("timeout", "unreadable")
    assert [json.loads(line)["path"] for line in lines_of(record.parent)[1:]] == [str(video)]
    assert list(examine_kept([video, video], workers=0)) == [fine, fine]
    assert list(examine_kept([], workers=0)) == [] and len(lines_of(record.parent)) == 1


def test_a_description_makes_its_videos(tmp_path: Path) -> None:
    description = tmp_path / "made.yaml"
    description.write_text("num_videos: 4\nmin_seconds: 2\nmax_seconds: 3\nsize_pixels: 32\n")
    inventory = take_in(description, tmp_path)
    assert len(inventory.videos) == 4 and inventory.rejected == []
    assert {Path(v.path).parent for v in inventory.videos} == {tmp_path / "made_videos"}
    description.write_text("num_vidoes: 4\n")
    with pytest.raises(ConfigError, match="did you mean 'num_videos'"):
        take_in(description, tmp_path)


def test_tables_come_back_as_they_were_written(source: Path, tmp_path: Path) -> None:
    inventory = take_in(source, tmp_path)
    write_manifest(tmp_path / "data" / "manifest.parquet", inventory.videos)
    assert read_manifest(tmp_path / "data" / "manifest.parquet") == inventory.videos
    rejected = [Rejected("a\nb.mp4", "too_short", "2 frames"), Rejected("c", "corrupt")]
    for rows in (rejected, []):
        write_quarantine(tmp_path / "data" / "quarantine.parquet", rows)
        assert read_quarantine(tmp_path / "data" / "quarantine.parquet") == rows
    assert not list((tmp_path / "data").glob("*.partial"))


def test_parameters_out_of_range_are_refused() -> None:
    for wrong in ({"bench_fraction": 0.0}, {"bench_fraction": 1.0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            IngestParams("x", **wrong)


def test_real_clips_are_taken_in(tmp_path: Path) -> None:
    clips = Path(__file__).parents[2] / "shared" / "videos"
    if not clips.is_dir():
        pytest.skip("the real clips are not here")
    inventory = ingest(IngestParams(str(clips)), tmp_path / "made_videos", workers=0)
    assert reasons(inventory) == {} and len(inventory.videos) == 7
    assert np.all([v.num_frames >= 48 for v in inventory.videos])
