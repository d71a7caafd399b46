"""The cache of inspections survives a kill, and is not used after a change of file, parameters or code."""

import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.ingesting import SMALL, ingest_path, ingest_source, reasons
from tests.support.videos import write_video
from videossr.ingest.cache import inspect_all
from videossr.ingest.inventory import Inventory
from videossr.ingest.params import IngestParams
from videossr.parallel import Limits
from videossr.records import RejectedFile


def ingest_with_cache(source: Path, work: Path, min_frames: int = 16) -> Inventory:
    params = IngestParams(str(source))
    return ingest_source(params, work / "made_videos", workers=0, min_frames=min_frames, work_dir=work)


def cache_lines(work: Path) -> list[str]:
    return (work / "inspections.jsonl").read_text().splitlines(keepends=True)


def files_opened_by_ingest(source: Path, work: Path, kill_at: str = "") -> set[str]:
    """The names of the files that `ingest_with_cache` opens in a process, killed where it opens `kill_at`."""
    reader, writer = get_context("spawn").Pipe(duplex=False)
    run = get_context("spawn").Process(target=_ingest_and_report_opens, args=(source, work, kill_at, writer))
    run.start()
    writer.close()
    names = set()
    with suppress(EOFError):
        while True:
            names.add(reader.recv())
    run.join()
    assert run.exitcode == (-signal.SIGKILL if kill_at else 0)
    return names


def _ingest_and_report_opens(source: Path, work: Path, kill_at: str, writer: "Connection[str, str]") -> None:
    def report_open(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and str(args[0]).startswith(str(source)):
            writer.send(Path(str(args[0])).name)
            if Path(str(args[0])).name == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(report_open)
    ingest_with_cache(source, work)


def test_a_killed_run_continues_after_the_last_file_that_it_inspected(source: Path, tmp_path: Path) -> None:
    (source / "bad.mp4").write_text("no video")
    work = tmp_path / "work"
    assert files_opened_by_ingest(source, work, kill_at="c.webm") == {"a.mp4", "b.MKV", "bad.mp4", "c.webm"}
    with (work / "inspections.jsonl").open("a") as record:
        record.write(cache_lines(work)[-1][:40])  # a last line that a kill left incomplete
    assert files_opened_by_ingest(source, work) == {"c.webm", "d.mov", "e.avi"}
    assert files_opened_by_ingest(source, work) == set()
    assert ingest_with_cache(source, work) == ingest_path(source, tmp_path)


def test_a_changed_file_is_inspected_again_even_with_the_old_size_and_time(source: Path, tmp_path: Path) -> None:
    work, path = tmp_path / "work", source / "a.mp4"
    before = ingest_with_cache(source, work)
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = ingest_with_cache(source, work)
    assert after == ingest_path(source, tmp_path) != before
    path.write_text("no video")
    write_video(source / "new.mp4", 40, **SMALL)
    assert reasons(ingest_with_cache(source, work)) == {"a.mp4": "not_a_video"}
    assert ingest_with_cache(source, work) == ingest_path(source, tmp_path)


def test_other_parameters_or_another_code_version_discard_the_cache(source: Path, tmp_path: Path) -> None:
    assert ingest_with_cache(source, tmp_path / "work").rejected == []
    assert ingest_with_cache(source, tmp_path / "work", min_frames=29) == ingest_path(source, tmp_path, min_frames=29)
    lines = cache_lines(tmp_path / "work")
    old = json.dumps({**json.loads(lines[0]), "version": "another"}) + "\n"
    (tmp_path / "work" / "inspections.jsonl").write_text(old + "".join(lines[1:]).replace("h264", "of old"))
    assert ingest_with_cache(source, tmp_path / "work", min_frames=29) == ingest_path(source, tmp_path, min_frames=29)


def test_transient_rejections_and_files_that_are_gone_are_not_cached(source: Path, tmp_path: Path) -> None:
    cache_file = tmp_path / "work" / "inspections.jsonl"
    hanging, folder, video = source / "hanging.mp4", source / "folder.mp4", source / "a.mp4"
    os.mkfifo(hanging)  # reading it never returns
    folder.mkdir()
    inspect = partial(inspect_all, min_frames=16, span=(0.05, 0.95), limits=Limits(seconds=1), cache_file=cache_file)
    timeout, unreadable, fine = inspect([hanging, folder, video], workers=1)
    assert isinstance(timeout, RejectedFile) and isinstance(unreadable, RejectedFile)
    assert (timeout.reason, unreadable.reason) == ("timeout", "unreadable")
    assert [json.loads(line)["path"] for line in cache_lines(cache_file.parent)[1:]] == [str(video)]
    assert list(inspect([video, video], workers=0)) == [fine, fine]
    assert list(inspect([], workers=0)) == [] and len(cache_lines(cache_file.parent)) == 1
