"""What was stored stays stored: over kills, over videos that join or leave, over a store that is cleared away."""

import hashlib
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

from tests.support.videos import write_video
from videossr.errors import StoreError
from videossr.frames.sampling import FramesParams
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.parallel import Limits, parallel_map
from videossr.records import RejectedFile, Video

PARAMS = FramesParams(num_frames=12, max_pixels=64 * 96, min_pixels=1024)


def video(path: Path) -> Video:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Video(digest, str(path), "h264", 96, 64, 25.0, 3.2, 80, "train")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    folder = tmp_path_factory.mktemp("videos")
    return [video(write_video(folder / f"{n}.mp4", n, options={"crf": "10"})) for n in (20, 40, 60, 80)]


@pytest.fixture(scope="module")
def whole(originals: list[Video], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store of a run that nobody touched."""
    root = tmp_path_factory.mktemp("whole") / "frames"
    assert write_store(originals, root, PARAMS, workers=0, videos_per_shard=2) == []
    return contents(root)


@pytest.fixture
def videos(originals: list[Video], tmp_path: Path) -> list[Video]:
    """Copies that a test may remove, in the order in which they are stored."""
    (tmp_path / "source").mkdir()
    copies = [replace(v, path=str(shutil.copy(v.path, tmp_path / "source"))) for v in originals]
    return sorted(copies, key=lambda v: v.video_id)


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


def store(videos: list[Video], folder: Path, params: FramesParams = PARAMS) -> list[RejectedFile]:
    return write_store(videos, folder / "frames", params, 0, folder / "work", videos_per_shard=2)


def gone(videos: list[Video]) -> None:
    """From here on, nothing but what is kept can be stored."""
    for v in videos:
        Path(v.path).unlink()


def test_a_store_that_was_cleared_away_comes_back_without_a_video_being_read(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """The graph clears an output that it did not come to record: a kill while it hashed, say."""
    assert store(videos, tmp_path) == []
    shutil.rmtree(tmp_path / "frames")
    gone(videos)
    assert store(videos, tmp_path) == []
    assert contents(tmp_path / "frames") == whole


def test_a_video_that_joins_is_the_only_one_that_is_read(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    for newcomer in range(4):
        folder = tmp_path / str(newcomer)
        copies = [replace(v, path=str(shutil.copy(v.path, tmp_path / f"{newcomer}-{n}"))) for n, v in enumerate(videos)]
        others = [v for n, v in enumerate(copies) if n != newcomer]
        assert store(others, folder) == []
        gone(others)
        assert store(copies, folder) == []
        assert contents(folder / "frames") == whole


def test_a_video_that_leaves_takes_its_frames_along_and_no_other_is_read(
    videos: list[Video], originals: list[Video], tmp_path: Path
) -> None:
    store(videos, tmp_path)
    gone(videos)
    left = [videos[0], videos[2], videos[3]]
    assert store(left, tmp_path) == []
    write_store([v for v in originals if v.video_id != videos[1].video_id], tmp_path / "fresh", PARAMS, 0, None, 2)
    assert contents(tmp_path / "frames") == contents(tmp_path / "fresh")


def test_what_is_no_longer_of_use_is_removed(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    store(videos[:3], tmp_path)
    (folder,) = (tmp_path / "work").iterdir()
    assert {path.name for path in folder.glob("*.tar")} == {"shard-00000.tar", "shard-00001.tar"}
    assert len(FrameStore(tmp_path / "frames")) == 3


def test_shards_are_linked_and_not_copied(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    (kept,) = (tmp_path / "work").glob("*/shard-00000.tar")
    assert kept.samefile(tmp_path / "frames" / "shard-00000.tar")


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="needs two file systems",
)
def test_where_no_link_can_be_made_shards_are_copied(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    elsewhere = Path("/dev/shm") / f"videossr-{os.getpid()}"
    try:
        write_store(videos, tmp_path / "frames", PARAMS, 0, elsewhere, videos_per_shard=2)
        assert contents(tmp_path / "frames") == whole
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.parametrize("name", ["shard-00000.tar", "shard-00001.tar"])
def test_damage_to_a_kept_shard_is_noticed_and_its_videos_are_read_again(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    """One bit, in the store itself: what is kept is linked to it."""
    for again in (videos, videos[::-1]):
        store(videos, tmp_path)
        shard = tmp_path / "frames" / name
        data = bytearray(shard.read_bytes())
        data[700] ^= 1
        shard.write_bytes(data)
        assert store(again, tmp_path) == []
        assert contents(tmp_path / "frames") == whole
    store(videos[:3], tmp_path)
    for shard in (tmp_path / "frames").glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:-1])
    assert store(videos, tmp_path) == []
    assert contents(tmp_path / "frames") == whole


def test_a_refusal_that_is_of_the_file_is_not_tried_again(videos: list[Video], tmp_path: Path) -> None:
    Path(videos[1].path).write_bytes(b"no video")
    videos[1] = video(Path(videos[1].path))
    refused = store(videos, tmp_path)
    assert len(refused) == 1
    gone(videos)
    assert store(videos, tmp_path) == refused


@pytest.mark.parametrize("name", ["settings.json", "shard-00000.rows.parquet", "shard-00000.rejected.parquet"])
def test_a_file_that_lost_its_bytes_with_the_power_is_made_again(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    store(videos, tmp_path)
    for again in (videos, videos[:3], videos):
        for damaged in (b"", b"\xff\xfe"):
            for path in (tmp_path / "work").glob(f"*/{name}"):
                path.write_bytes(damaged)
            assert store(again, tmp_path) == []
    assert contents(tmp_path / "frames") == whole


def test_other_parameters_take_nothing_over(videos: list[Video], tmp_path: Path) -> None:
    store(videos, tmp_path)
    gone(videos)
    assert [item.reason for item in store(videos, tmp_path, replace(PARAMS, num_frames=8))] == ["unreadable"] * 4


@pytest.mark.parametrize("params", [PARAMS, replace(PARAMS, limits=Limits(seconds=99.0))], ids=["same", "other limits"])
def test_a_video_out_of_reach_is_tried_again_by_the_next_run_and_no_other_is_read(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path, params: FramesParams
) -> None:
    away = Path(videos[1].path).rename(tmp_path / "away.mp4")
    assert [item.reason for item in store(videos, tmp_path)] == ["unreadable"]
    away.rename(videos[1].path)
    gone([videos[0], *videos[2:]])
    assert store(videos, tmp_path, params) == []
    assert contents(tmp_path / "frames") == whole
    assert not list((tmp_path / "work").glob("*/*.partial"))


def test_a_killed_run_goes_on_behind_its_last_whole_shard(
    videos: list[Video], originals: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    third = Path(videos[2].path)
    third.unlink()
    os.mkfifo(third)  # whoever reads it waits for ever, in the middle of the second shard
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
    gone(videos[:2])  # what is stored is not read again
    assert store(videos, tmp_path) == []
    assert contents(tmp_path / "frames") == whole


@pytest.mark.parametrize("when", ["shards", "index", "store"])
def test_a_kill_at_the_end_loses_nothing(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path, when: str
) -> None:
    """As after a kill -9 before, between and after the last steps."""
    run = get_context("spawn").Process(target=_store_until, args=(videos, tmp_path, when))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL and not (tmp_path / "frames").exists()
    if when != "shards":
        gone(videos)
    assert store(videos, tmp_path) == []
    assert contents(tmp_path / "frames") == whole and not (tmp_path / "frames.partial").exists()


def _store_until(videos: list[Video], folder: Path, when: str) -> None:
    """Kill this process at a step that is known by the file that it renames."""
    marks = {"shards": "shard-00001.rows", "index": "index.parquet", "store": "frames.partial"}

    def watch(event: str, args: tuple[object, ...]) -> None:
        if event == "os.rename" and Path(str(args[0])).name.startswith(marks[when]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    store(videos, folder)


def test_a_kill_at_any_step_loses_no_whole_shard_and_changes_no_byte(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """What lies on the disk before each step is what a kill -9 there leaves; the graph may clear the store as well."""
    states = tmp_path / "states"
    run = get_context("spawn").Process(target=_store_and_keep_every_state, args=(videos, tmp_path / "work", states))
    run.start()
    run.join()
    assert run.exitcode == 0
    kept = sorted(states.iterdir())
    assert len(kept) >= 25
    for state in kept:
        cleared = Path(shutil.copytree(state, tmp_path / "cleared" / state.name))
        shutil.rmtree(cleared / "frames", ignore_errors=True)
        assert store(videos, cleared) == []
        assert contents(cleared / "frames") == whole and not (cleared / "frames.partial").exists(), state
    gone(videos)  # what is whole is not read again
    ends = [
        state for state in kept if any(len(list(plan.glob("*.rows.parquet"))) == 2 for plan in state.glob("work/*"))
    ]
    assert len(ends) >= 5
    for state in ends:
        assert store(videos, state) == []
        assert contents(state / "frames") == whole and not (state / "frames.partial").exists(), state


def _store_and_keep_every_state(videos: list[Video], work: Path, states: Path) -> None:
    """Copy `work` before every step that changes it; what python does not see lies between two that it does."""
    store(videos[:1], work)
    changing = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "open")
    copying = False

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal copying
        if copying or event not in changing or (event == "open" and args[1] not in ("w", "wb")):
            return
        copying = True
        shutil.copytree(work, states / f"{len(list(states.glob('*'))):03d}-{event}")
        copying = False

    sys.addaudithook(watch)
    store(videos, work)
    copying = True


def test_a_full_disk_is_one_sentence_and_a_later_run_goes_on(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"no room is left to write .*shard-00000.tar: free some space"):
        list(parallel_map(_store_with_little_room, [(videos, tmp_path)], 1, Limits(), lambda item, loss: loss))
    assert not (tmp_path / "frames").exists()
    store(videos, tmp_path)
    assert contents(tmp_path / "frames") == whole


def _store_with_little_room(job: tuple[list[Video], Path]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    store(*job)


def test_without_a_place_to_keep_it_nothing_but_the_store_is_left(
    videos: list[Video], whole: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "frames.partial").mkdir()
    (tmp_path / "frames.partial" / "shard-00009.tar").write_bytes(b"from a run that was killed")
    write_store(videos[:1], tmp_path / "frames", PARAMS, workers=0)
    write_store(videos, tmp_path / "frames", PARAMS, workers=0, videos_per_shard=2)
    assert contents(tmp_path / "frames") == whole
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "frames.readers.parquet", "source"}
