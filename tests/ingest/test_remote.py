"""Videos behind a URL: fetched once, not lost by a kill, and DVC detects changes; S3 is a real server on loopback."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from flows import preflight
from tests.support import ROOT
from tests.support.dvc_project import make_project, repro
from tests.support.ingesting import SMALL, ingest_source
from tests.support.object_store import SECRET, forget_connections, local_s3, post
from tests.support.videos import write_video
from videossr.cli import app
from videossr.errors import ConfigError, SourceError
from videossr.ingest.fetch import fetch
from videossr.ingest.inventory import Inventory
from videossr.ingest.manifest import read_manifest
from videossr.ingest.params import IngestParams
from videossr.ingest.remote import RemoteFile, RemoteFolder, require_no_secret, require_reachable
from videossr.records import RejectedFile
from videossr.storage.quarantine import read_quarantine

URL = "s3://bucket/videos"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with local_s3(monkeypatch, tmp_path_factory.mktemp("aws")) as client:
        yield client


def put(s3: Any, name: str, body: bytes) -> None:
    s3.put_object(Bucket="bucket", Key=f"videos/{name}", Body=body)


def stamps(folder: Path) -> dict[str, int]:
    """When each file was written, by its name below the folder."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def list_files(url: str) -> list[RemoteFile]:
    return RemoteFolder(url).list_files()


def fetch_all(url: str, folder: Path) -> dict[str, RejectedFile]:
    """Fetch everything below a URL; returns the rejected files by name."""
    remote = RemoteFolder(url)
    return fetch(remote, remote.list_files(), folder)


def ingest_url(source: str | Path, tmp_path: Path) -> Inventory:
    params = IngestParams(str(source), bench_fraction=0.3)
    return ingest_source(params, tmp_path / "made", 0, min_frames=16, fetched_dir=tmp_path / "fetched")


def test_a_bucket_gives_the_same_videos_as_the_folder_it_was_filled_from(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "here" / "deep er").mkdir(parents=True)
    for number, name in enumerate(["a.mp4", "deep er/ü #%20.mp4", "c.MP4"]):
        path = write_video(tmp_path / "here" / name, 30 + number, **SMALL)
        put(s3, name, path.read_bytes())
    for name in ("../up.mp4", "/slash.mp4", "deep er/./dot.mp4", "notes.txt"):
        put(s3, name, b"not to be fetched")
    put(s3, "text.mp4", b"no video")
    fetched, here = ingest_url(URL, tmp_path), ingest_url(tmp_path / "here", tmp_path)
    facts = [[(v.video_id, v.split, v.num_frames) for v in found.videos] for found in (fetched, here)]
    assert facts[0] == facts[1] and len(facts[0]) == 3
    assert {item.path: item.reason for item in fetched.rejected} == {
        "s3://bucket/videos/../up.mp4": "bad_name",
        "s3://bucket/videos//slash.mp4": "bad_name",
        "s3://bucket/videos/deep er/./dot.mp4": "bad_name",
        str(tmp_path / "fetched" / "text.mp4"): "not_a_video",
    }
    assert sorted(stamps(tmp_path / "fetched")) == ["a.mp4", "c.MP4", "deep er/ü #%20.mp4", "text.mp4"]


def test_only_changed_files_are_fetched_again_and_deleted_ones_are_removed(s3: Any, tmp_path: Path) -> None:
    for name in ("a.mp4", "b/b.mp4", "b/c.mp4"):
        put(s3, name, b"before")
    folder = tmp_path / "fetched"
    (folder / "a.mp4").mkdir(parents=True)  # of another source
    (folder / "a.mp4" / "x.mp4").write_bytes(b"left over")
    assert fetch_all(URL, folder) == {}
    before = stamps(folder)
    assert list(before) == ["a.mp4", "b/b.mp4", "b/c.mp4"]
    assert fetch_all(URL, folder) == {} and stamps(folder) == before
    put(s3, "b/b.mp4", b"behind")  # of the same size: only the ETag differs
    s3.delete_object(Bucket="bucket", Key="videos/b/c.mp4")
    (folder / "a.mp4").write_bytes(b"changed by another program")
    fetch_all(URL, folder)
    after = stamps(folder)
    assert sorted(after) == ["a.mp4", "b/b.mp4"] and all(after[name] != before[name] for name in after)
    assert ((folder / "a.mp4").read_bytes(), (folder / "b/b.mp4").read_bytes()) == (b"before", b"behind")


FETCH = """
from pathlib import Path
from videossr.ingest.fetch import fetch
from videossr.ingest.remote import RemoteFolder
remote = RemoteFolder({url!r})
fetch(remote, remote.list_files(), Path({folder!r}))
"""


def test_a_killed_fetch_continues_and_fetches_nothing_twice(s3: Any, tmp_path: Path) -> None:
    bodies = {f"{number:03d}.mp4": os.urandom(20_000) for number in range(150)}
    for name, body in bodies.items():
        put(s3, name, body)
    folder, record = tmp_path / "fetched", tmp_path / "fetched.jsonl"
    script = FETCH.format(url=URL, folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while not record.exists() or len(record.read_text().splitlines()) < 10:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = {name: at for name, at in stamps(folder).items() if f'/{name}"' in record.read_text()}
    assert 10 <= len(whole) < 150
    assert fetch_all(URL, folder) == {}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == bodies
    assert whole.items() <= stamps(folder).items()
    assert not (tmp_path / "fetched.partial").exists()


def test_the_error_for_an_unreachable_source_is_one_sentence(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(s3, "a.mp4", b"x")
    for ask in (require_reachable, list_files):
        with pytest.raises(SourceError, match="s3://missing/videos does not exist: check the bucket"):
            ask("s3://missing/videos")
        with pytest.raises(SourceError, match="the source s3:// names no bucket"):
            ask("s3://")
    with pytest.raises(SourceError, match="does not exist"):
        require_reachable("s3://bucket/elsewhere")
    with pytest.raises(SourceError, match="no videos under"):
        ingest_url("s3://bucket/elsewhere", tmp_path)
    with pytest.raises(SourceError, match="Protocol not known: nosuch"):
        list_files("nosuch://bucket")
    post(s3, "/moto-api/reset-auth", "0")  # from now on, it asks for credentials
    forget_connections()
    for ask in (require_reachable, list_files):
        with pytest.raises(SourceError, match="may not be listed .*give your credentials the right"):
            ask(URL)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    forget_connections()
    with pytest.raises(SourceError, match="cannot be reached .*credentials"):
        list_files(URL)


@pytest.mark.parametrize("url", [f"s3://me:{SECRET}@bucket", f"https://host/videos?token={SECRET}"])
def test_a_url_with_a_secret_is_an_error_that_does_not_repeat_it(url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = (ROOT / "params.yaml").read_bytes()
    (tmp_path / "params.yaml").write_bytes(before)
    for ask in (require_no_secret, require_reachable, IngestParams, lambda url: invoke("use", url)):
        with pytest.raises(ConfigError, match="must contain no password") as caught:
            ask(url)
        assert SECRET not in str(caught.value)
    assert (tmp_path / "params.yaml").read_bytes() == before
    for fine in (URL, "s3://bucket/a:b", "sftp://me@host/videos"):
        require_no_secret(fine)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_a_url_becomes_the_source_only_if_it_is_reachable(s3: Any, tmp_path: Path, monkeypatch: Any) -> None:
    put(s3, "a.mp4", b"x")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        invoke("use", "s3://missing/videos")
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["ingest"]["source"] == "sources/made.yaml"
    invoke("use", URL)
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["ingest"]["source"] == URL
    assert "is valid" in invoke("check").output
    preflight.check(make_project(tmp_path / "project", URL))


def test_a_url_that_exists_in_one_process_is_an_error() -> None:
    with pytest.raises(SourceError, match="exists in one process only"):
        require_reachable("memory://folder")


class FaultyStore(MemoryFileSystem):
    """A store in memory that calls `before[name]` just before it fetches that file."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    before: ClassVar[dict[str, Callable[[], object]]] = {}
    fetched_names: ClassVar[list[str]] = []

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        self.fetched_names.append(rpath.removeprefix("/folder/"))
        self.before.get(self.fetched_names[-1], lambda: None)()
        super().get_file(rpath, lpath, **kwargs)


@pytest.fixture
def faulty_store() -> Iterator[FaultyStore]:
    fsspec.register_implementation("memory", FaultyStore, clobber=True)
    FaultyStore.clear_instance_cache()
    for state in (FaultyStore.store, FaultyStore.before, FaultyStore.fetched_names):
        state.clear()
    system = fsspec.filesystem("memory")
    system.pipe({f"/folder/{number}.mp4": b"%d" % number for number in range(50)})
    yield system
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)
    MemoryFileSystem.clear_instance_cache()


def failing(times: int) -> Callable[[], None]:
    left = [OSError("no answer")] * times

    def fail() -> None:
        if left:
            time.sleep(0.005)  # fetching and watching run in two threads
            raise left.pop()

    return fail


def test_a_file_that_fails_or_changes_while_fetched_is_rejected_alone(
    faulty_store: FaultyStore, tmp_path: Path
) -> None:
    faulty_store.before["3.mp4"] = lambda: faulty_store.rm("/folder/3.mp4")
    faulty_store.before["4.mp4"] = lambda: faulty_store.pipe({"/folder/4.mp4": b"of another size"})
    faulty_store.before["5.mp4"] = failing(times=1)
    faulty_store.before["6.mp4"] = failing(times=2)
    faulty_store.before["40.mp4"] = lambda: faulty_store.pipe({"/folder/7.mp4": b"!"})  # 7 was fetched earlier
    failed = fetch_all("memory://folder", tmp_path / "fetched")
    assert {name: rejected.reason for name, rejected in failed.items()} == {
        "3.mp4": "changed_while_read",
        "4.mp4": "changed_while_read",
        "6.mp4": "unreadable",
        "7.mp4": "changed_while_read",
    }
    assert all("tries again" in rejected.detail for rejected in failed.values())
    assert "no answer" in failed["6.mp4"].detail and failed["6.mp4"].path.endswith("/folder/6.mp4")
    faulty_store.before.clear()
    faulty_store.fetched_names.clear()
    assert fetch_all("memory://folder", tmp_path / "fetched") == {}
    assert sorted(faulty_store.fetched_names) == ["4.mp4", "6.mp4", "7.mp4"]


def test_an_unreachable_source_stops_the_run_and_rejects_no_file(faulty_store: FaultyStore, tmp_path: Path) -> None:
    remote = RemoteFolder("memory://folder")
    files = remote.list_files()
    listing = faulty_store.find

    def gone(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    def go_away() -> None:
        for file in files:
            faulty_store.before[file.name] = failing(times=99)
        faulty_store.find = gone  # type: ignore[method-assign]
        raise OSError("no route to host")

    faulty_store.before["2.mp4"] = go_away
    with pytest.raises(SourceError, match="cannot be reached .no route to host.*fetched files are kept"):
        fetch(remote, files, tmp_path / "fetched")
    assert len(faulty_store.fetched_names) < len(files)  # the remaining files are not tried
    faulty_store.find = listing  # type: ignore[method-assign]
    faulty_store.before.clear()
    fetched = stamps(tmp_path / "fetched")
    assert fetched and fetch_all("memory://folder", tmp_path / "fetched") == {}
    assert fetched.items() <= stamps(tmp_path / "fetched").items() and len(stamps(tmp_path / "fetched")) == 50


WEB_PAGE = b'<a href="a.mp4">a</a> <a href="b.mp4">b</a>'
S3_LISTING = b"""<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>1</KeyCount>
<IsTruncated>false</IsTruncated><Contents><Key>videos/a.mp4</Key><Size>7</Size><ETag>"e"</ETag>
<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"""


@contextmanager
def failing_server(body: bytes, kind: str, failures: int) -> Iterator[tuple[str, list[int]]]:
    """A server that answers 503 to its first requests, and `body` to later ones; its address, and what it answered."""
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.append(503 if len(answers) < failures else 200)
            content = b"" if answers[-1] == 503 else body
            self.send_response(answers[-1])
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: the answers are compared."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers
        finally:
            server.shutdown()
            thread.join()


def test_a_web_server_that_fails_for_a_moment_is_asked_again() -> None:
    with failing_server(WEB_PAGE, "text/html", failures=2) as (address, answers):
        assert [file.name for file in list_files(f"{address}/videos/")] == ["a.mp4", "b.mp4"]
    assert answers[:3] == [503, 503, 200]


def test_an_s3_server_that_fails_for_a_moment_is_asked_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing_server(S3_LISTING, "application/xml", failures=2) as (address, answers):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        forget_connections()
        assert [file.name for file in list_files(URL)] == ["a.mp4"]
    assert answers == [503, 503, 200]


def test_a_web_server_that_keeps_failing_is_one_sentence() -> None:
    with (
        failing_server(WEB_PAGE, "text/html", failures=99) as (address, answers),
        pytest.raises(SourceError, match="cannot be reached .*503"),
    ):
        list_files(f"{address}/videos")
    assert 4 <= len(answers) <= 8


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project", URL)


@pytest.mark.slow
def test_dvc_runs_ingest_and_frames_only_when_the_bucket_changes(s3: Any, project: Path) -> None:
    video = project.parent / "video.mp4"
    for number, name in enumerate(["a.mp4", "b.mp4"]):
        put(s3, name, write_video(video, 40 + number, **SMALL).read_bytes())
    torn = bytearray(write_video(video).read_bytes())
    for place in np.random.default_rng(0).integers(torn.index(b"mdat") + 1500, len(torn) - 4000, 60):
        torn[place] ^= 0xFF  # its index is intact, its frames are damaged
    put(s3, "torn.mp4", bytes(torn))
    put(s3, "text.mp4", b"no video")
    assert "Running stage 'ingest'" in repro(project, "ingest", "frames")
    assert accounted_for(project) == ["a.mp4", "b.mp4", "text.mp4", "torn.mp4"]
    tables = [read_quarantine(project / "data" / f"{name}.parquet") for name in ("rejected", "quarantine")]
    assert [[(Path(item.path).name, item.reason) for item in table] for table in tables] == [
        [("text.mp4", "not_a_video")],
        [("text.mp4", "not_a_video"), ("torn.mp4", "corrupt")],
    ]
    fetched = stamps(project / "work" / "fetched")
    said = repro(project, "ingest", "frames")
    assert "Stage 'ingest' didn't change" in said and "Stage 'frames' didn't change" in said
    third = write_video(project.parent / "third.mp4", 50, **SMALL)
    put(s3, "c.mp4", third.read_bytes())
    said = repro(project, "ingest", "frames")
    assert "Running stage 'ingest'" in said and "Running stage 'frames'" in said
    assert accounted_for(project) == ["a.mp4", "b.mp4", "c.mp4", "text.mp4", "torn.mp4"]
    assert fetched.items() <= stamps(project / "work" / "fetched").items()
    s3.delete_object(Bucket="bucket", Key="videos/c.mp4")
    assert "Running stage 'ingest'" in repro(project, "ingest", "frames")
    put(s3, "c.mp4", third.read_bytes())  # the bucket is as before, but the fetched file was removed
    repro(project, "ingest", "frames")
    assert sorted(stamps(project / "work" / "fetched")) == ["a.mp4", "b.mp4", "c.mp4", "text.mp4", "torn.mp4"]
    written = [path for path in project.rglob("*") if path.is_file() and not path.is_relative_to(project / "src")]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def accounted_for(project: Path) -> list[str]:
    """The name of every stored video and every row of the quarantine; a file that is in both appears twice."""
    path_of = {video.video_id: video.path for video in read_manifest(project / "data" / "manifest.parquet")}
    stored = pq.read_table(project / "data" / "frames" / "index.parquet")["video_id"].to_pylist()
    rejected = read_quarantine(project / "data" / "quarantine.parquet")
    return sorted(Path(path).name for path in [*(path_of[name] for name in stored), *(file.path for file in rejected)])
