"""Stored videos are not decoded again: after a kill, an added or removed video, or a deleted store."""

import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.frame_stores import PARAMS, read_files, to_manifest_row, write_four_videos
from videossr.errors import StoreError
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.parallel import Limits, parallel_map
from videossr.records import RejectedFile, Video


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    return write_four_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def expected(originals: list[Video], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store that a run without a kill wrote."""
    root = tmp_path_factory.mktemp("expected") / "frames"
    assert write_store(originals, root, PARAMS, workers=0, videos_per_shard=2) == []
    return read_files(root)


@pytest.fixture
def videos(originals: list[Video], tmp_path: Path) -> list[Video]:
    """Copies that a test may delete, in the order of the store."""
    (tmp_path / "source").mkdir()
    copies = [replace(v, path=str(shutil.copy(v.path, tmp_path / "source"))) for v in originals]
    return sorted(copies, key=lambda v: v.video_id)


def store(videos: list[Video], folder: Path, params: FramesParams = PARAMS) -> list[RejectedFile]:
    return write_store(videos, folder / "frames", params, 0, folder / "work", videos_per_shard=2)


def delete_sources(videos: list[Video]) -> None:
    """Delete the files of `videos`: from now on, their frames can only come from stored shards."""
    for v in videos:
        Path(v.path).unlink()


def test_a_deleted_store_is_restored_without_reading_a_video(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """DVC deletes an output that it has not recorded, for example after a kill while it hashed the output."""
    assert store(videos, tmp_path) == []
    shutil.rmtree(tmp_path / "frames")
    delete_sources(videos)
    assert store(videos, tmp_path) == []
    assert read_files(tmp_path / "frames") == expected


def test_only_an_added_video_is_read(videos: list[Video], expected: dict[str, bytes], tmp_path: Path) -> None:
    for new in range(4):
        folder = tmp_path / str(new)
        copies = [replace(v, path=str(shutil.copy(v.path, tmp_path / f"{new}-{n}"))) for n, v in enumerate(videos)]
        others = [v for n, v in enumerate(copies) if n != new]
        assert store(others, folder) == []
        delete_sources(others)
        assert store(copies, folder) == []
        assert read_files(folder / "frames") == expected


def test_a_removed_video_is_removed_from_the_store_and_no_video_is_read(
    videos: list[Video], originals: list[Video], tmp_path: Path
) -> None:
    store(videos, tmp_path)
    delete_sources(videos)
    remaining = [videos[0], videos[2], videos[3]]
    assert store(remaining, tmp_path) == []
    write_store([v for v in originals if v.video_id != videos[1].video_id], tmp_path / "fresh", PARAMS, 0, None, 2)
    assert read_files(tmp_path / "frames") == read_files(tmp_path / "fresh")


def test_shards_of_other_builds_are_removed(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    store(videos[:3], tmp_path)
    (folder,) = (tmp_path / "work").iterdir()
    assert {path.name for path in folder.glob("*.tar")} == {"shard-00000.tar", "shard-00001.tar"}
    assert len(FrameStore(tmp_path / "frames")) == 3


def test_shards_are_linked_and_not_copied(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    (cached,) = (tmp_path / "work").glob("*/shard-00000.tar")
    assert cached.samefile(tmp_path / "frames" / "shard-00000.tar")


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="needs two file systems",
)
def test_shards_are_copied_between_two_file_systems(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    work_dir = Path("/dev/shm") / f"videossr-{os.getpid()}"
    try:
        write_store(videos, tmp_path / "frames", PARAMS, 0, work_dir, videos_per_shard=2)
        assert read_files(tmp_path / "frames") == expected
    finally:
        shutil.rmtree(work_dir)


@pytest.mark.parametrize("name", ["shard-00000.tar", "shard-00001.tar"])
def test_a_damaged_shard_is_noticed_and_its_videos_are_read_again(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    """One flipped bit in the store damages the cached shard too, because both are links to one file."""
    for next_videos in (videos, videos[::-1]):
        store(videos, tmp_path)
        shard = tmp_path / "frames" / name
        data = bytearray(shard.read_bytes())
        data[700] ^= 1
        shard.write_bytes(data)
        assert store(next_videos, tmp_path) == []
        assert read_files(tmp_path / "frames") == expected
    store(videos[:3], tmp_path)
    for shard in (tmp_path / "frames").glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:-1])
    assert store(videos, tmp_path) == []
    assert read_files(tmp_path / "frames") == expected


def test_a_file_rejected_for_a_permanent_reason_is_not_read_again(videos: list[Video], tmp_path: Path) -> None:
    Path(videos[1].path).write_bytes(b"no video")
    videos[1] = to_manifest_row(Path(videos[1].path))
    rejected = store(videos, tmp_path)
    assert len(rejected) == 1
    delete_sources(videos)
    assert store(videos, tmp_path) == rejected


@pytest.mark.parametrize("name", ["settings.json", "shard-00000.rows.parquet", "shard-00000.rejected.parquet"])
def test_a_cache_file_damaged_by_a_power_loss_is_written_again(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    store(videos, tmp_path)
    for next_videos in (videos, videos[:3], videos):
        for damaged in (b"", b"\xff\xfe"):
            for path in (tmp_path / "work").glob(f"*/{name}"):
                path.write_bytes(damaged)
            assert store(next_videos, tmp_path) == []
    assert read_files(tmp_path / "frames") == expected


def test_shards_of_other_parameters_are_not_used(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    delete_sources(videos)
    assert [item.reason for item in store(videos, tmp_path, replace(PARAMS, num_frames=8))] == ["unreadable"] * 4


@pytest.mark.parametrize("params", [PARAMS, replace(PARAMS, limits=Limits(seconds=99.0))], ids=["same", "other limits"])
def test_only_an_unreadable_video_is_read_again_by_the_next_run(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path, params: FramesParams
) -> None:
    moved = Path(videos[1].path).rename(tmp_path / "moved.mp4")
    assert [item.reason for item in store(videos, tmp_path)] == ["unreadable"]
    moved.rename(videos[1].path)
    delete_sources([videos[0], *videos[2:]])
    assert store(videos, tmp_path, params) == []
    assert read_files(tmp_path / "frames") == expected
    assert not list((tmp_path / "work").glob("*/*.partial"))


def test_a_killed_run_continues_after_its_last_finished_shard(
    videos: list[Video], originals: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    third = Path(videos[2].path)
    third.unlink()
    os.mkfifo(third)  # reading it blocks forever, in the middle of the second shard
    arguments = (videos, tmp_path / "frames", PARAMS, 1, tmp_path / "work", 2)
    run = get_context("spawn").Process(target=write_store, args=arguments)
    run.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("work/*/shard-00000.rows.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.join()
    assert not (tmp_path / "frames").exists()
    third.unlink()
    shutil.copy(next(v.path for v in originals if v.video_id == videos[2].video_id), third)
    delete_sources(videos[:2])  # stored videos are not read again
    assert store(videos, tmp_path) == []
    assert read_files(tmp_path / "frames") == expected


@pytest.mark.parametrize("when", ["shards", "index", "store"])
def test_a_kill_at_the_end_loses_nothing(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path, when: str
) -> None:
    """SIGKILL just before the last shard is finished, before the index is written, and before the store appears."""
    run = get_context("spawn").Process(target=_store_until_killed, args=(videos, tmp_path, when))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL and not (tmp_path / "frames").exists()
    if when != "shards":
        delete_sources(videos)
    assert store(videos, tmp_path) == []
    assert read_files(tmp_path / "frames") == expected and not (tmp_path / "frames.partial").exists()


def _store_until_killed(videos: list[Video], folder: Path, when: str) -> None:
    """Kill this process just before it renames the file or folder that completes step `when`."""
    prefixes = {"shards": "shard-00001.rows", "index": "index.parquet", "store": "frames.partial"}

    def kill_before_rename(event: str, args: tuple[object, ...]) -> None:
        if event == "os.rename" and Path(str(args[0])).name.startswith(prefixes[when]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_before_rename)
    store(videos, folder)


def test_a_kill_at_any_step_loses_no_finished_shard_and_changes_no_byte(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The files on disk before each step are what SIGKILL leaves there; DVC may delete the store as well."""
    states = tmp_path / "states"
    run = get_context("spawn").Process(target=_store_and_copy_every_state, args=(videos, tmp_path / "work", states))
    run.start()
    run.join()
    assert run.exitcode == 0
    copies = sorted(states.iterdir())
    assert len(copies) >= 25
    for state in copies:
        no_store = Path(shutil.copytree(state, tmp_path / "no store" / state.name))
        shutil.rmtree(no_store / "frames", ignore_errors=True)
        assert store(videos, no_store) == []
        assert read_files(no_store / "frames") == expected and not (no_store / "frames.partial").exists(), state
    delete_sources(videos)  # finished shards are not read again
    with_all_shards = [
        state for state in copies if any(len(list(build.glob("*.rows.parquet"))) == 2 for build in state.glob("work/*"))
    ]
    assert len(with_all_shards) >= 5
    for state in with_all_shards:
        assert store(videos, state) == []
        assert read_files(state / "frames") == expected and not (state / "frames.partial").exists(), state


def _store_and_copy_every_state(videos: list[Video], folder: Path, states: Path) -> None:
    """Copy `folder` before every Python call that changes a file.

    Writes by C++ libraries raise no audit event, but each of them happens between two such calls.
    """
    store(videos[:1], folder)
    events = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "open")
    copying = False

    def copy_before_change(event: str, args: tuple[object, ...]) -> None:
        nonlocal copying
        if copying or event not in events or (event == "open" and args[1] not in ("w", "wb")):
            return
        copying = True
        shutil.copytree(folder, states / f"{len(list(states.glob('*'))):03d}-{event}")
        copying = False

    sys.addaudithook(copy_before_change)
    store(videos, folder)
    copying = True


def test_a_full_disk_raises_one_sentence_and_a_later_run_continues(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"no space is left to write .*shard-00000.tar: free some"):
        list(parallel_map(_store_on_a_full_disk, [(videos, tmp_path)], 1, Limits(), lambda item, failure: failure))
    assert not (tmp_path / "frames").exists()
    store(videos, tmp_path)
    assert read_files(tmp_path / "frames") == expected


def _store_on_a_full_disk(job: tuple[list[Video], Path]) -> None:
    """Limit the size of a file, which raises EFBIG where a full disk raises ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    store(*job)


def test_without_a_work_folder_only_the_store_and_the_table_of_readers_remain(
    videos: list[Video], expected: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "frames.partial").mkdir()
    (tmp_path / "frames.partial" / "shard-00009.tar").write_bytes(b"left by a killed run")
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    write_store(videos, tmp_path / "frames", PARAMS, workers=0, videos_per_shard=2)
    assert read_files(tmp_path / "frames") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "frames.readers.parquet", "source"}


def test_videos_of_the_benchmark_have_their_own_size_also_after_they_changed_their_split(
    videos: list[Video], tmp_path: Path
) -> None:
    params = replace(PARAMS, max_pixels=32 * 64, bench_max_pixels=64 * 96)
    for bench in (0, 1):
        of_split = [replace(v, split="bench" if n == bench else "train") for n, v in enumerate(videos)]
        store(of_split, tmp_path, params)
        frames = FrameStore(tmp_path / "frames")
        sizes = [frames[v.video_id].frames.shape[1:3] for v in videos]
        assert sizes == [(64, 96) if n == bench else (32, 32) for n in range(len(videos))]
    whole = replace(PARAMS, max_pixels=64 * 96, bench_max_pixels=None)
    store([videos[1]], tmp_path / "whole", whole)
    expected = FrameStore(tmp_path / "whole" / "frames")[videos[1].video_id]
    assert (frames[videos[1].video_id].frames == expected.frames).all()
    delete_sources(videos)  # nothing changed: no video is read again
    shutil.rmtree(tmp_path / "frames")
    assert store(of_split, tmp_path, params) == []
