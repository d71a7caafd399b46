"""Annotations come from the Hub or GitHub at one commit: the files of the entry alone, and each mistake a sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.benchmark_records import write_document, write_made_records
from tests.support.file_hub import FileHub, serve_files
from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import examine_copy
from videossr.evaluation.benchmarks.fetching import Servers, fetch_annotations
from videossr.evaluation.benchmarks.revisions import RECORD

COMMIT, OTHER = "a" * 40, "b" * 40
VCR = "pritamqu/VCRBench"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FileHub]:
    with serve_files() as server:
        yield server


def publish(hub: FileHub, key: str, repository: str, folder: Path, commit: str = COMMIT) -> Path:
    """Made records of a benchmark in a repository of the server, with code and a video beside them."""
    write_made_records(key, folder)
    (folder / "loader.py").write_text("raise SystemExit('code of a data set was run')")
    (folder / "videos").mkdir(exist_ok=True)
    (folder / "videos/video_0.mp4").write_bytes(b"video")
    hub.repositories[repository, commit] = folder
    return folder


def fetch(hub: FileHub, key: str, folder: Path, revision: str | None = COMMIT) -> str:
    return fetch_annotations(BENCHMARKS[key], folder, revision, Servers(hub.url, hub.url))


def test_the_annotations_of_the_hub_are_fetched_without_code_and_videos(hub: FileHub, tmp_path: Path):
    publish(hub, "vcrbench", VCR, tmp_path / "source")
    assert fetch(hub, "vcrbench", tmp_path / "copy") == COMMIT
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"data.json", RECORD}
    assert hub.asked == [f"/datasets/{VCR}/resolve/{COMMIT}/data.json"]
    items = load("vcrbench", tmp_path / "copy", counts=False)
    assert len(items) == 3 and items.revision == COMMIT


def test_the_annotations_of_github_are_fetched_at_the_pinned_commit(hub: FileHub, tmp_path: Path):
    pinned = BENCHMARKS["charadessta"].revision
    assert pinned is not None
    repository = tmp_path / "source"
    publish(hub, "charadessta", "microsoft/VideoX", repository / "2D-TAN/data/Charades-STA")
    hub.repositories = {("microsoft/VideoX", pinned): repository}
    fetch(hub, "charadessta", tmp_path / "copy", revision=None)
    items = load("charadessta", tmp_path / "copy", counts=False)
    assert items.revision == pinned and items[0].duration_seconds == 30.5  # of the file that may be absent


def test_a_file_that_may_be_absent_may_be_absent(hub: FileHub, tmp_path: Path):
    source = publish(hub, "vinoground", "HanSolo9682/Vinoground", tmp_path / "source")
    (source / "vinoground.csv").unlink()
    fetch(hub, "vinoground", tmp_path / "copy")
    assert not (tmp_path / "copy/vinoground.csv").exists()
    assert load("vinoground", tmp_path / "copy", counts=False)[0].groups == {}


def test_every_file_of_an_entry_with_many_is_fetched_once(hub: FileHub, tmp_path: Path):
    publish(hub, "mvbench", "OpenGVLab/MVBench", tmp_path / "source")
    fetch(hub, "mvbench", tmp_path / "copy")
    assert len(hub.asked) == len(set(hub.asked)) == 20
    assert load("mvbench", tmp_path / "copy", counts=False).revision == COMMIT


def test_a_commit_that_is_there_is_not_fetched_again_and_another_replaces_it(hub: FileHub, tmp_path: Path):
    publish(hub, "vcrbench", VCR, tmp_path / "source")
    fetch(hub, "vcrbench", tmp_path / "copy")
    fetch(hub, "vcrbench", tmp_path / "copy")
    assert len(hub.asked) == 1
    newer = publish(hub, "vcrbench", VCR, tmp_path / "newer", OTHER)
    write_document(newer / "data.json", json.loads((newer / "data.json").read_text())[:2])
    fetch(hub, "vcrbench", tmp_path / "copy", OTHER)
    items = load("vcrbench", tmp_path / "copy", counts=False)
    assert len(items) == 2 and items.revision == OTHER


def test_a_file_that_was_changed_is_of_no_known_revision(hub: FileHub, tmp_path: Path):
    publish(hub, "vcrbench", VCR, tmp_path / "source")
    fetch(hub, "vcrbench", tmp_path / "copy")
    rows = json.loads((tmp_path / "copy/data.json").read_text())
    write_document(tmp_path / "copy/data.json", rows[:1])
    assert load("vcrbench", tmp_path / "copy", counts=False).revision is None
    fetch(hub, "vcrbench", tmp_path / "copy")
    assert len(load("vcrbench", tmp_path / "copy", counts=False)) == 3


def test_files_that_were_not_fetched_are_not_written_over(hub: FileHub, tmp_path: Path):
    publish(hub, "vcrbench", VCR, tmp_path / "source")
    write_made_records("vcrbench", tmp_path / "copy")
    with pytest.raises(BenchmarkError, match=r"data\.json is there and was not fetched .*: name another folder"):
        fetch(hub, "vcrbench", tmp_path / "copy")
    assert hub.asked == []


def test_a_fetch_that_was_stopped_continues(hub: FileHub, tmp_path: Path):
    source = publish(hub, "mvbench", "OpenGVLab/MVBench", tmp_path / "source")
    last = source / BENCHMARKS["mvbench"].default_layout.parts[-1].paths[0]
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(BenchmarkError, match=f"has no json/.* at commit {COMMIT}"):
        fetch(hub, "mvbench", tmp_path / "copy")
    assert not (tmp_path / "copy" / RECORD).exists() and not (tmp_path / "copy/json").exists()
    asked = len(hub.asked)
    last.write_bytes(content)
    fetch(hub, "mvbench", tmp_path / "copy")
    assert len(hub.asked) == asked + 1


def test_a_revision_must_be_a_commit(hub: FileHub, tmp_path: Path):
    page = re.escape(f"https://huggingface.co/datasets/{VCR}/commits/main")
    with pytest.raises(ConfigError, match=f"vcrbench has no pinned revision: name a commit with --revision.*{page}"):
        fetch(hub, "vcrbench", tmp_path, revision=None)
    with pytest.raises(ConfigError, match=f"must be a commit, 40 hexadecimal digits.*'main'.*{page}"):
        fetch(hub, "vcrbench", tmp_path, revision="main")
    with pytest.raises(BenchmarkError, match="viubench has no annotations to fetch: videossr viubench build"):
        fetch(hub, "viubench", tmp_path)


def test_a_source_that_refuses_is_one_sentence(hub: FileHub, tmp_path: Path):
    with pytest.raises(BenchmarkError, match="is not there, or not for you"):
        fetch(hub, "vcrbench", tmp_path)
    publish(hub, "vcrbench", VCR, tmp_path / "source")
    with pytest.raises(BenchmarkError, match=f"has no commit {OTHER}: name one with --revision"):
        fetch(hub, "vcrbench", tmp_path, OTHER)
    hub.gated.add(VCR)
    with pytest.raises(BenchmarkError, match="gives its files to those who accepted its terms.*HF_TOKEN"):
        fetch(hub, "vcrbench", tmp_path)


@pytest.mark.parametrize("key", [pytest.param("vcrbench", marks=pytest.mark.slow), "tempcompass"])
def test_no_network_is_one_sentence(key: str, tmp_path: Path):
    nobody = "http://127.0.0.1:9"
    with pytest.raises(BenchmarkError, match="cannot be reached .*: run again with a network") as raised:
        fetch_annotations(BENCHMARKS[key], tmp_path / "copy", COMMIT, Servers(nobody, nobody))
    assert BENCHMARKS[key].obtain in str(raised.value) and "\n" not in str(raised.value)
    assert examine_copy(key, tmp_path / "copy", tmp_path).state == "annotations missing"


def test_the_pinned_revisions_are_commits():
    pinned = {key: entry.revision for key, entry in BENCHMARKS.items() if entry.revision}
    assert set(pinned) == {"tempcompass", "qvhighlights", "activitynet", "charadessta", "tacos", "videommmu", "cvbench"}
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in pinned.values())


def run_command(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "videossr.cli", "benchmarks", "fetch", "vcrbench", str(folder)]
    return subprocess.run(
        [*command, "--revision", COMMIT], env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_the_command_fetches_and_checks(hub: FileHub, tmp_path: Path):
    source = publish(hub, "vcrbench", VCR, tmp_path / "source")
    rows = [{"qid": str(n), "goal": "Tea", "video_file": f"{n}.mp4", "ground_truth": [1, 0, 2]} for n in range(365)]
    write_document(source / "data.json", rows)
    done = run_command(tmp_path / "copy", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert f"at commit {COMMIT}" in done.stdout and "they are VCRBench as published" in done.stdout
    write_document(source / "data.json", rows[:5])
    shutil.rmtree(tmp_path / "copy")
    done = run_command(tmp_path / "copy", HF_ENDPOINT=hub.url)
    assert done.returncode == 1
    assert "must hold 365 questions, got 5" in done.stdout and "is not VCRBench as published" in done.stderr


def test_offline_mode_is_one_sentence_of_the_command(tmp_path: Path):
    done = run_command(tmp_path / "copy", HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"videossr: https://huggingface.co/datasets/{VCR} cannot be reached")
