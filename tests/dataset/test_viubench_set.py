"""VIUBench as a data set: questions and frames of any source, card, hash, and a build that goes on after a kill."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from typer.testing import CliRunner

from videossr.cli import app
from videossr.dataset.params import VIUBENCH, PretextParams
from videossr.dataset.viubench_set import SUMMARY, ViubenchParams, build_data_set, read_summary
from videossr.errors import ConfigError, SourceError
from videossr.evaluation import load
from videossr.evaluation.benchmarks.local_copy import find_benchmark_videos
from videossr.frames.store import FrameStore
from videossr.ingest.manifest import read_manifest, write_manifest
from videossr.ingest.synthetic import SyntheticParams, make_videos

PER_COLUMN = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "videos"
    make_videos(SyntheticParams(num_videos=3, max_seconds=5.0, size_pixels=64), 5, folder, workers=0)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("built") / "viubench")


def build(source: Path, out: Path, manifest: Path | None = None, per_column: int = PER_COLUMN) -> Path:
    params = ViubenchParams(str(source), per_column=per_column, manifest=manifest, licence="CC0 1.0")
    build_data_set(params, PretextParams(), out, workers=0)
    return out


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "videos.parquet")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_data_set_has_its_questions_of_every_column_and_all_their_frames(built: Path):
    items = load("viubench", built, counts=False)
    assert [item.id.rpartition("/")[0].removeprefix("viubench/") for item in items[::PER_COLUMN]] == list(VIUBENCH)
    assert len(items) == 9 * PER_COLUMN
    assert find_benchmark_videos(items, built).missing == ()
    clip = FrameStore(built / "frames")[items[0].videos[0].path]
    assert clip.frames.shape == (48, 128, 128, 3)  # of 64 pixels: enlarged to the paper's smallest frame


def test_the_card_says_what_the_data_set_is(built: Path):
    card, summary = (built / "README.md").read_text(), read_summary(built)
    assert "18 questions about 3 videos" in card and "| jigsaw/8 | 2 |" in card
    assert "A video is used in 6 to 6 questions" in card
    assert "No manifest of a training run was given" in card and "Licence of the videos: CC0 1.0" in card
    assert summary["sha256"] in card and summary["columns"] == dict.fromkeys(VIUBENCH, 2)
    assert not (built / "work").exists()


def test_the_same_videos_elsewhere_give_the_same_bytes(built: Path, source: Path, tmp_path: Path):
    shutil.copytree(source, tmp_path / "copy")
    assert files(build(tmp_path / "copy", tmp_path / "other")) == files(built)


def test_training_videos_of_a_manifest_are_left_out_by_their_content(built: Path, source: Path, tmp_path: Path):
    first, *others = read_manifest(built / "videos.parquet")
    write_manifest(tmp_path / "manifest.parquet", [replace(first, split="train", path="elsewhere.mp4"), *others])
    out = build(source, tmp_path / "disjoint", tmp_path / "manifest.parquet")
    assert {video.video_id for video in read_manifest(out / "videos.parquet")} == {v.video_id for v in others}
    assert "1 were left out" in (out / "README.md").read_text()
    everything = [replace(video, split="train") for video in (first, *others)]
    write_manifest(tmp_path / "all.parquet", everything)
    with pytest.raises(SourceError, match="all 3 videos are training videos of .*all.parquet"):
        build(source, tmp_path / "none", tmp_path / "all.parquet")


def test_a_finished_data_set_is_not_written_over(built: Path, source: Path):
    before = files(built)
    with pytest.raises(ConfigError, match="already holds a VIUBench: choose another folder"):
        build(source, built)
    assert files(built) == before


def test_a_folder_without_a_finished_data_set_is_one_sentence(tmp_path: Path):
    for content in (None, "{"):
        if content:
            (tmp_path / SUMMARY).write_text(content)
        with pytest.raises(SourceError, match="holds no finished VIUBench: `videossr viubench build"):
            read_summary(tmp_path)


@pytest.mark.parametrize("place", ["frames", "differences-*.jsonl"])
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(place: str, source: Path, tmp_path: Path):
    per_column = 40  # looking whether the edits are visible takes long enough to be killed
    whole = build(source, tmp_path / "whole", per_column=per_column)
    out = tmp_path / "killed"
    process = get_context("fork").Process(target=build, args=(source, out, None, per_column))
    process.start()
    while not any((out / "work").glob(place)) and process.is_alive():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL and any((out / "work").glob(place))
    assert files(build(source, out, per_column=per_column)) == files(whole)


def test_the_command_builds_and_says_how_often_a_video_is_used(source: Path, tmp_path: Path):
    arguments = ["viubench", "build", str(source), str(tmp_path / "out"), "--per-column", "1"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "9 questions about 3 videos" in shown and "3 to 3 about each" in shown
    assert json.loads((tmp_path / "out" / SUMMARY).read_text())["seed"] == 0
