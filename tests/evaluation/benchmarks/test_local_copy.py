"""What is here of a benchmark, and every fault of a local copy, in the library and at the command line."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.benchmark_records import write_document, write_made_records
from tests.support.frame_stores import PARAMS, write_four_videos
from videossr.cli import app
from videossr.dataset.samples import write_samples
from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import copy_faults, examine_copy
from videossr.evaluation.benchmarks.local_copy import find_benchmark_videos
from videossr.frames.writing import write_store
from videossr.records import Sample


def vcrbench_rows() -> list[dict[str, Any]]:
    """As many records as are published, of a video each."""
    return [
        {"qid": str(n), "goal": "Make Tea", "video_file": f"{n}.mp4", "ground_truth": [1, 0, 2]} for n in range(365)
    ]


def write_videos(folder: Path, names: list[str]) -> Path:
    """Files of these names; looking for a video does not open it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "240"}).invoke(app, list(arguments), catch_exceptions=False)


def test_a_benchmark_is_ready_where_all_its_videos_are_there(tmp_path: Path):
    assert examine_copy("aotbench", tmp_path, tmp_path).state == "annotations missing"
    write_made_records("aotbench", tmp_path)
    items = load("aotbench", tmp_path)
    paths = [ref.path for item in items for ref in item.videos]
    write_videos(tmp_path, paths[1:])
    assert examine_copy("aotbench", tmp_path, tmp_path).state == f"videos missing: 1 of {len(set(paths))}"
    write_videos(tmp_path, paths)
    assert examine_copy("aotbench", tmp_path, tmp_path).state == "ready"


def test_a_copy_that_is_not_the_published_one_is_faulty(tmp_path: Path):
    write_made_records("charadessta", tmp_path)
    copy = examine_copy("charadessta", tmp_path, tmp_path)
    assert copy.state == "annotations faulty"
    assert "must hold 3720 questions, got 3" in copy.fault


def test_a_whole_copy_has_no_fault(tmp_path: Path):
    write_document(tmp_path / "data.json", vcrbench_rows())
    videos = write_videos(tmp_path, [f"videos/{n}.mp4" for n in range(365)])
    assert copy_faults("vcrbench", tmp_path, videos) == []
    assert "holds VCRBench as published" in run("benchmarks", "check", "vcrbench", str(tmp_path)).output


def test_every_fault_of_a_copy_is_a_sentence(tmp_path: Path):
    rows = vcrbench_rows()
    rows[3] |= {"qid": "2"}
    rows[7] |= {"goal": ""}
    write_document(tmp_path / "data.json", rows[:-1])
    videos = write_videos(tmp_path, [f"videos/{n}.mp4" for n in range(360)])
    faults = copy_faults("vcrbench", tmp_path, videos)
    expected = [
        "must hold 365 questions, got 364",
        "a text and a video, but item 7",
        "an id must occur once, but item 2",
    ]
    expected += ["4 are missing (videos/360.mp4, videos/361.mp4, videos/362.mp4, ..)"]
    assert len(faults) == len(expected)
    assert all(part in fault for part, fault in zip(expected, faults, strict=True))
    with pytest.raises(BenchmarkError, match="is not VCRBench as published: it has 3 faults"):
        run("benchmarks", "check", "vcrbench", str(tmp_path))


def test_a_copy_that_cannot_be_read_is_one_sentence(tmp_path: Path):
    (tmp_path / "data.json").write_text("[{")
    assert len(copy_faults("vcrbench", tmp_path)) == 1
    with pytest.raises(ConfigError, match="a benchmark must be one of viubench"):
        copy_faults("vcrbensh", tmp_path)


def test_the_videos_of_viubench_are_those_of_its_frame_store(tmp_path: Path):
    videos = write_four_videos(tmp_path)
    samples = [
        Sample(f"viubench/counting/easy/{n}", "counting", "easy", video_id, {"n": n}, "<video>\nHow many?", "1,1,1")
        for n, video_id in enumerate([videos[1].video_id, "not stored"])
    ]
    write_samples(tmp_path / "viubench.parquet", samples)
    items = load("viubench", tmp_path, counts=False)
    assert find_benchmark_videos(items, tmp_path).missing == (videos[1].video_id, "not stored")
    write_store(videos, tmp_path / "frames", PARAMS, workers=0)
    found = find_benchmark_videos(items, tmp_path)
    assert (found.missing, found.items_missing) == (("not stored",), {"viubench/counting/easy/1"})


def test_the_list_shows_every_benchmark_with_its_licence_and_source(tmp_path: Path):
    write_made_records("aotbench", tmp_path / "aotbench")
    shown = run("benchmarks", "--annotations", str(tmp_path)).output
    assert all(key in shown for key in BENCHMARKS)
    assert "videos missing" in shown and shown.count("annotations missing") == len(BENCHMARKS) - 1
    assert "CC BY-NC-SA 4.0 (gated)" in shown and "videossr viubench build" in shown
