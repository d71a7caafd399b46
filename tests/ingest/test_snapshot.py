"""The snapshot of a source: equal bytes until the source changes, and the effect of a change on ingest."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flows import preflight
from tests.support.dvc_project import make_project, repro
from tests.support.ingesting import SMALL, ingest_source, reasons
from tests.support.videos import write_video
from videossr.errors import ConfigError, SourceError
from videossr.ingest.inventory import Inventory, ingest
from videossr.ingest.manifest import read_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.snapshot import Snapshot, read_snapshot, take_snapshot, write_snapshot
from videossr.ingest.sources import require_usable_source
from videossr.records import TRANSIENT_REASONS
from videossr.storage.quarantine import read_quarantine


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files with a video suffix and one without, in two folders."""
    folder = tmp_path / "my videos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.MKV", "notes.txt"):
        (folder / name).write_bytes(b"some bytes")
    return folder


def snapshot_bytes(source: object, tmp_path: Path) -> bytes:
    path, snapshot = tmp_path / "source.json", take_snapshot(str(source), tmp_path / "made_videos")
    write_snapshot(path, snapshot)
    assert read_snapshot(path) == snapshot
    return path.read_bytes()


def rows(source: object, tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(snapshot_bytes(source, tmp_path))["holds"]}


def test_files_without_a_video_suffix_are_counted_and_named(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("deep/more.TXT", "LICENSE", "photo.heic"):
        (source / name).touch()
    with caplog.at_level("INFO"):
        snapshot = take_snapshot(str(source), tmp_path / "made_videos")
    assert [entry.name for entry in snapshot.entries] == ["a.mp4", "deep/b.MKV"]
    assert "passed over for their suffix: 2 .txt, 1" in caplog.text and "1 (no suffix)" in caplog.text


def odd_entries(source: Path) -> dict[str, str]:
    """Add to `source` entries at which DVC would hang, stop or leave the folder; returns name -> reason."""
    os.mkfifo(source / "pipe.mp4")
    for name, target in {
        "dangling.mp4": "nothing",
        "loop.mp4": "loop.mp4",
        "device.mp4": "/dev/zero",
        "out.mp4": "../outside.mp4",
        "up": "..",
        "round": ".",
    }.items():
        (source / name).symlink_to(target)
    (source.parent / "outside.mp4").write_bytes(b"outside the source")
    (source / "new\nline.mp4").touch()
    expected = dict.fromkeys(["pipe.mp4", "dangling.mp4", "loop.mp4", "round"], "unreadable")
    return expected | dict.fromkeys(["device.mp4", "out.mp4", "up"], "outside_source") | {"new\nline.mp4": "bad_name"}


def touch(path: Path) -> None:
    stamp = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(stamp, stamp))


def test_what_a_project_in_the_source_has_written_is_not_taken_for_a_video(tmp_path, caplog):
    project = tmp_path / "films" / "project"
    for name in ("data/made_videos", "work/fetched", "models", "reports", "mlruns", ".dvc/cache", ".venv/lib", "flows"):
        (project / name).mkdir(parents=True)
        (project / name / "ours.mp4").write_bytes(b"x")
    for mark in ("dvc.yaml", "params.yaml"):
        (project / mark).write_text("")
    own = ["films/project/holiday.mp4", "films/data/a.mp4", "films/.hidden/b.mp4"]
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level("INFO"):
        snapshot = take_snapshot(str(tmp_path), tmp_path / "made")
    assert sorted(entry.name for entry in snapshot.entries) == sorted([*own, "films/project/flows/ours.mp4"])
    assert "films/project/.dvc, films/project/.venv, films/project/data" in caplog.text


def test_a_snapshot_changes_with_the_videos_of_the_source_and_nothing_else(source: Path, tmp_path: Path) -> None:
    first = snapshot_bytes(source, tmp_path)
    (source / "notes.txt").write_text("other notes, not a video")
    (source / "a.mp4").read_bytes()
    assert snapshot_bytes(source, tmp_path) == first
    seen = {first}
    for number, change in enumerate(
        [
            lambda: touch(source / "a.mp4"),
            lambda: (source / "a.mp4").write_bytes(b"more bytes than before"),
            lambda: (source / "c.mp4").touch(),
            lambda: (source / "c.mp4").rename(source / "d.mp4"),
            lambda: os.mkfifo(source / "pipe.mp4"),
            lambda: (source / "link.mp4").symlink_to("nowhere"),
        ],
        start=2,
    ):
        change()
        seen.add(snapshot_bytes(source, tmp_path))
        assert len(seen) == number
    for name in ("pipe.mp4", "link.mp4", "d.mp4"):
        (source / name).unlink()
    assert len(rows(source, tmp_path)) == 2
    assert not list(tmp_path.glob("*.partial"))


def test_a_row_is_a_name_a_size_and_a_time(source: Path, tmp_path: Path) -> None:
    file_stat = (source / "deep" / "b.MKV").stat()
    assert list(rows(source, tmp_path)) == ["a.mp4", "deep/b.MKV"]
    assert rows(source, tmp_path)["deep/b.MKV"] == {
        "name": "deep/b.MKV",
        "kind": "file",
        "size": 10,
        "mtime_ns": file_stat.st_mtime_ns,
    }


def test_odd_entries_are_listed_unopened_with_the_reason_of_their_rejection(source: Path, tmp_path: Path) -> None:
    expected = odd_entries(source)
    inventory = ingest_source(IngestParams(str(source)), tmp_path / "made_videos", workers=0)
    rejected = {str(Path(item.path).relative_to(source)): item.reason for item in inventory.rejected}
    assert {name: reason for name, reason in rejected.items() if name in expected} == expected
    kinds = {name: row["kind"].split(":")[0] for name, row in rows(source, tmp_path).items()}
    assert kinds == expected | {"a.mp4": "file", "deep/b.MKV": "file"}


def test_a_link_is_followed_within_the_source_and_not_out_of_it(source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"outside the source")
    (source / "out.mp4").symlink_to(outside)
    (source / "hidden").write_bytes(b"a video without a suffix")
    (source / "in.mp4").symlink_to("hidden")
    first = snapshot_bytes(source, tmp_path)
    outside.write_bytes(b"changed outside")
    assert snapshot_bytes(source, tmp_path) == first
    (source / "hidden").write_bytes(b"changed")
    assert snapshot_bytes(source, tmp_path) != first
    assert rows(source, tmp_path)["in.mp4"]["size"] == len(b"changed")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_snapshot_changes_when_a_file_or_folder_becomes_readable(source: Path, tmp_path: Path) -> None:
    seen = {snapshot_bytes(source, tmp_path)}
    for path, mode in ((source / "a.mp4", 0o644), (source / "deep", 0o755)):
        path.chmod(0)
        seen.add(snapshot_bytes(source, tmp_path))
        path.chmod(mode)
    assert len(seen) == 3


def test_names_that_are_not_utf8_are_listed_in_ascii(source: Path, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(source) + b"/bad\xff.mp4"))).touch()
    (source / "ü.mp4").touch()
    snapshot_bytes(source, tmp_path).decode("ascii")
    assert [row["kind"].split(":")[0] for row in rows(source, tmp_path).values()] == [
        "file",
        "bad_name",
        "file",
        "file",
    ]


def test_the_files_of_a_list_are_in_the_order_of_the_list(source: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.txt"
    table.write_text("my videos/deep/b.MKV\nabsent.mp4\nmy videos/a.mp4\nmy videos/a.mp4\n")
    first = snapshot_bytes(table, tmp_path)
    assert list(rows(table, tmp_path)) == ["my videos/deep/b.MKV", "absent.mp4", "my videos/a.mp4"]
    touch(source / "a.mp4")
    second = snapshot_bytes(table, tmp_path)
    (tmp_path / "absent.mp4").touch()
    assert len({first, second, snapshot_bytes(table, tmp_path)}) == 3


def test_the_snapshot_of_a_description_is_its_text(tmp_path: Path) -> None:
    description = tmp_path / "made.yaml"
    description.write_text("num_videos: 4\n")
    first = snapshot_bytes(description, tmp_path)
    touch(description)
    assert snapshot_bytes(description, tmp_path) == first
    description.write_text("num_videos: 5\n")
    assert snapshot_bytes(description, tmp_path) != first
    description.write_text("num_vidoes: 5\n")
    with pytest.raises(ConfigError, match="did you mean 'num_videos'"):
        snapshot_bytes(description, tmp_path)


def test_the_snapshot_of_a_url_has_sizes_and_versions(tmp_path: Path) -> None:
    remote = fsspec.filesystem("memory")
    remote.pipe({"/watched/a.mp4": b"12", "/watched/deep/b.mp4": b"345", "/watched/notes.txt": b"6"})
    first = snapshot_bytes("memory://watched", tmp_path)
    assert {name: row["size"] for name, row in rows("memory://watched", tmp_path).items()} == {
        "a.mp4": 2,
        "deep/b.mp4": 3,
    }
    assert all(row["mark"] for row in rows("memory://watched", tmp_path).values())
    remote.pipe("/watched/notes.txt", b"other")
    assert snapshot_bytes("memory://watched", tmp_path) == first
    remote.pipe("/watched/a.mp4", b"21")  # of the same size
    assert snapshot_bytes("memory://watched", tmp_path) != first
    with pytest.raises(SourceError, match="no videos under memory://watched/none"):
        remote.pipe("/watched/none/notes.txt", b"6")
        snapshot_bytes("memory://watched/none", tmp_path)


@pytest.mark.parametrize("url", ["s3://me:secret@bucket/videos", "https://host/videos?token=secret"])
def test_a_url_with_a_secret_is_never_listed(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must contain no password"):
        snapshot_bytes(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_an_unusable_source_is_the_same_before_and_in_the_stage(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").touch()
    (tmp_path / "made_videos").mkdir()
    (tmp_path / "one.mp4").touch()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "urls.txt").write_text("s3://bucket/a.mp4\n")
    (tmp_path / "bad.yaml").write_text("num_videos: [")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "absent": "does not exist",
        "empty": "no videos under",
        "made_videos": "is emptied",
        "one.mp4": "is one file",
        "empty.txt": "no videos under",
        "urls.txt": "contains URLs",
        "bad.yaml": "not valid YAML",
        "loop": "cannot be read",
        "pipe": "neither a folder nor a file",
    }.items():
        with pytest.raises((SourceError, ConfigError), match=words):
            require_usable_source(name, tmp_path / "made_videos", below=tmp_path)
        with pytest.raises((SourceError, ConfigError), match=words):
            snapshot_bytes(tmp_path / name, tmp_path)
    assert not (tmp_path / "source.json").exists()


def test_odd_entries_do_not_stop_a_run_before_it_starts(source: Path, tmp_path: Path) -> None:
    odd_entries(source)
    preflight.check(make_project(tmp_path / "project", str(source)))


@pytest.fixture
def two_videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(["a.mp4", "b.mp4"]):
        write_video(folder / name, 60 + number, **SMALL)
    return folder


def ingest_snapshot(snapshot: Snapshot, tmp_path: Path) -> Inventory:
    params = IngestParams(snapshot.source)
    return ingest(params, snapshot, tmp_path / "made_videos", 0, fetched_dir=tmp_path / "fetched")


def change_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (change_bytes, "changed after it was listed"),
        (touch, "changed after it was listed"),
        (Path.unlink, "deleted after it was listed"),
    ],
)
def test_a_file_that_changes_after_the_snapshot_is_rejected_until_the_next_run(
    two_videos: Path, tmp_path: Path, change: Callable[[Path], None], detail: str
) -> None:
    snapshot = take_snapshot(str(two_videos), tmp_path / "made_videos")
    change(two_videos / "a.mp4")
    inventory = ingest_snapshot(snapshot, tmp_path)
    assert [Path(video.path).name for video in inventory.videos] == ["b.mp4"]
    (rejected,) = inventory.rejected
    assert rejected.reason == "changed_while_read" in TRANSIENT_REASONS and detail in rejected.detail
    again = ingest_snapshot(take_snapshot(str(two_videos), tmp_path / "made_videos"), tmp_path)
    assert again.rejected == []


def test_a_listed_path_that_changes_after_the_snapshot_is_rejected(two_videos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("videos/b.mp4\nvideos/absent.mp4\nvideos/a.mp4\n")
    snapshot = take_snapshot(str(tmp_path / "list.txt"), tmp_path / "made_videos")
    touch(two_videos / "a.mp4")
    write_video(two_videos / "absent.mp4", 70, **SMALL)  # the snapshot rejects it: ingest does not read it
    inventory = ingest_snapshot(snapshot, tmp_path)
    assert [video.path for video in inventory.videos] == [str(two_videos / "b.mp4")]
    assert reasons(inventory) == {"a.mp4": "changed_while_read", "absent.mp4": "unreadable"}


def test_videos_are_made_from_the_description_in_the_snapshot(tmp_path: Path) -> None:
    description = tmp_path / "made.yaml"
    description.write_text("{num_videos: 2, size_pixels: 32}")
    snapshot = take_snapshot(str(description), tmp_path / "made_videos")
    description.write_text("{num_videos: 3, size_pixels: 32}")
    assert len(ingest_snapshot(snapshot, tmp_path).videos) == 2


def test_a_file_that_appears_after_the_snapshot_waits_for_the_next_run(two_videos: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(str(two_videos), tmp_path / "made_videos")
    write_video(two_videos / "c.mp4", 70, **SMALL)
    assert len(ingest_snapshot(snapshot, tmp_path).videos) == 2
    assert len(ingest_snapshot(take_snapshot(str(two_videos), tmp_path / "made_videos"), tmp_path).videos) == 3


class CountingStore(MemoryFileSystem):
    """A store in memory that counts how often its files are listed."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    num_listings: ClassVar[int] = 0

    def find(self, *arguments: Any, **options: Any) -> Any:
        CountingStore.num_listings += 1
        return super().find(*arguments, **options)


def test_ingest_lists_a_url_only_after_fetching_to_find_changes(two_videos: Path, tmp_path: Path) -> None:
    fsspec.register_implementation("memory", CountingStore, clobber=True)
    CountingStore.clear_instance_cache()
    try:
        system = fsspec.filesystem("memory")
        system.pipe({f"/listed/{path.name}": path.read_bytes() for path in two_videos.iterdir()})
        snapshot = take_snapshot("memory://listed", tmp_path / "made_videos")
        assert CountingStore.num_listings == 1
        assert len(ingest_snapshot(snapshot, tmp_path).videos) == 2
        assert CountingStore.num_listings == 2
        assert len(ingest_snapshot(snapshot, tmp_path).videos) == 2
        assert CountingStore.num_listings == 2, "nothing was fetched, so nothing can have changed meanwhile"
    finally:
        fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)
        MemoryFileSystem.clear_instance_cache()


def test_the_error_for_a_snapshot_of_another_source_is_one_sentence(two_videos: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(str(two_videos), tmp_path / "made_videos")
    with pytest.raises(SourceError, match="the listing is of the source .* run `dvc repro`"):
        ingest(IngestParams("elsewhere"), snapshot, tmp_path / "made_videos", 0)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"source": "x"}', b'{"source": "x", "holds": [1]}', b"\xff"])
def test_the_error_for_a_missing_or_damaged_snapshot_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no listing of the source .* run `dvc repro`"):
        read_snapshot(tmp_path / "source.json")
    (tmp_path / "source.json").write_bytes(content)
    with pytest.raises(SourceError, match="is damaged: run `dvc repro`"):
        read_snapshot(tmp_path / "source.json")


@pytest.mark.slow
def test_each_odd_entry_is_rejected_and_ingest_runs_when_the_source_changes(tmp_path: Path) -> None:
    source, project = tmp_path / "videos", make_project(tmp_path / "project", "../videos")
    for number, name in enumerate(["a.mp4", "b.mp4"]):
        source.mkdir(exist_ok=True)
        write_video(source / name, 40 + number, **SMALL)
    expected = odd_entries(source)
    assert "Running stage 'ingest'" in repro(project, "ingest")
    assert len(read_manifest(project / "data" / "manifest.parquet")) == 2
    table = read_quarantine(project / "data" / "rejected.parquet")
    assert {str(Path(item.path).relative_to("../videos")): item.reason for item in table} == expected
    lock = (project / "dvc.lock").read_bytes()
    assert "Stage 'ingest' didn't change" in repro(project, "ingest")
    assert (project / "dvc.lock").read_bytes() == lock
    for change in (
        lambda: touch(source / "a.mp4"),
        lambda: write_video(source / "b.mp4", 50, **SMALL),
        lambda: (source / "pipe.mp4").unlink(),
    ):
        change()
        assert "Running stage 'ingest'" in repro(project, "ingest")
        assert "Stage 'ingest' didn't change" in repro(project, "ingest")


@pytest.mark.slow
def test_ingest_runs_when_a_file_behind_a_list_changes(tmp_path: Path) -> None:
    for number, name in enumerate(["a.mp4", "b.mp4"]):
        write_video(tmp_path / name, 40 + number, **SMALL)
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\n")
    project = make_project(tmp_path / "project", "../list.txt")
    repro(project, "ingest")
    assert "Stage 'ingest' didn't change" in repro(project, "ingest")
    before = read_manifest(project / "data" / "manifest.parquet")
    write_video(tmp_path / "b.mp4", 60, **SMALL)
    assert "Running stage 'ingest'" in repro(project, "ingest")
    after = read_manifest(project / "data" / "manifest.parquet")
    assert [video.num_frames for video in before] == [40, 41] and [video.num_frames for video in after] == [40, 60]
