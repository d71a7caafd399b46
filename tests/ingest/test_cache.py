"""What is known of each file outlives a kill, and no change of the file, the parameters or the code."""

import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.ingesting import SMALL, reasons, take_in
from tests.support.videos import write_video
from videossr.ingest.cache import examine_all
from videossr.ingest.inventory import Inventory, ingest
from videossr.ingest.params import IngestParams
from videossr.parallel import Limits
from videossr.records import RejectedFile


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
    assert isinstance(timeout, RejectedFile) and isinstance(unreadable, RejectedFile)
    assert (timeout.reason, unreadable.reason) == ("timeout", "unreadable")
    assert [json.loads(line)["path"] for line in lines_of(record.parent)[1:]] == [str(video)]
    assert list(examine_kept([video, video], workers=0)) == [fine, fine]
    assert list(examine_kept([], workers=0)) == [] and len(lines_of(record.parent)) == 1
