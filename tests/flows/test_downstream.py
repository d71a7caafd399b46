"""The stage downstream on made benchmarks and a tiny policy: rows, replies, and what MLflow records."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows import downstream
from tests.support import ROOT
from tests.support.benchmark_records import write_made_records
from tests.support.tiny_policy import write_tiny
from tests.support.videos import write_video
from videossr import tracking
from videossr.evaluation import load
from videossr.evaluation.downstream import read_answers

ROWS = ["random", "blind", "before", "after"]
KEYS = ["charadessta", "videomme", "cvbench"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    """A project in which the stage has run, with two questions of each made benchmark."""
    folder = tmp_path_factory.mktemp("project")
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["downstream"] |= {"limit": 2, "frames": 4, "bootstrap_samples": 100}
    YAML(typ="safe").dump(params, folder / "params.yaml")
    for name in ("start", "policy"):
        write_tiny(folder / "models" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        downstream.main()
        yield folder


def results(project: Path) -> dict[str, Any]:
    return dict(json.loads((project / "reports" / "downstream.json").read_text()))


def test_every_row_has_every_benchmark_with_all_its_questions(project: Path):
    found = results(project)
    assert found["made"] and list(found["rows"]) == ROWS
    assert list(found["gains"]) == KEYS
    for gain in found["gains"].values():
        assert gain["differences"][gain["metric"]]["mean"] == 0  # the checkpoint before and after is the same
    for row in found["rows"].values():
        assert list(row) == KEYS
        for record in row.values():
            assert record["counts"]["questions"] == record["counts"]["asked"] == 2
            assert record["counts"]["missing"] == record["counts"]["failed"] == 0
            assert record["columns"][record["metric"]]["ci95"] == [0, 100]  # too few videos for an interval
            assert record["chance"][record["metric"]] > 0


def test_replies_are_json_lines_with_the_times_of_the_frames_shown(project: Path):
    for name in ROWS:
        for key in KEYS:
            answers = read_answers(project / "reports" / "downstream" / name / f"{key}.jsonl")
            assert len(answers.replies) == 2 and answers.header["benchmark"] == key
            shown = {len(times) for item in answers.times.values() for times in item}
            assert shown == (set() if name == "random" else {4})


def test_mlflow_has_the_metrics_by_benchmark_and_group_the_replies_and_the_data_sets(project: Path):
    client = tracking.mlflow_client(project)
    (run,) = client.search_runs([client.get_experiment_by_name("videossr").experiment_id])
    record = results(project)["rows"]["after"]["cvbench"]
    assert run.data.metrics["after/cvbench/accuracy"] == record["columns"]["accuracy"]["mean"]
    assert "random/charadessta/R1 0.5" in run.data.metrics
    assert any(name.startswith("before/videomme/task_type/") for name in run.data.metrics)
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {
        "Charades-STA (test)",
        "Video-MME",
        "CVBench (several videos)",
    }
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"downstream", "downstream.json"}


def test_a_second_run_asks_nothing_again_and_gives_the_same_results(project: Path):
    before = results(project)
    files = {path: path.read_bytes() for path in (project / "work" / "downstream").rglob("*.jsonl")}
    downstream.main()
    assert results(project) == before
    assert {path: path.read_bytes() for path in files} == files


def test_without_benchmarks_the_stage_writes_empty_rows(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    params = YAML(typ="safe").load(project / "params.yaml")
    params["downstream"]["benchmarks"] = []
    YAML(typ="safe").dump(params, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    downstream.main()
    assert results(tmp_path)["rows"] == {name: {} for name in ROWS}
    assert [path.name for path in (tmp_path / "data" / "made_benchmarks").iterdir()] == ["README.txt"]


def test_a_video_that_does_not_decode_is_a_counted_failure_and_its_reason_stands_beside_the_replies(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    folder = tmp_path / "annotations" / "aotbench"
    write_made_records("aotbench", folder)
    items = load("aotbench", folder)
    for place, item in enumerate(items):
        video = folder / item.videos[0].path
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video.with_suffix(".mp4"), num_frames=8)
        if place == 0:
            video.with_suffix(".mp4").write_text("no video")
    params = YAML(typ="safe").load(project / "params.yaml")
    changed = {"benchmarks": ["aotbench"], "annotations": str(folder.parent), "policies": ["before"], "limit": None}
    params["downstream"] |= changed
    YAML(typ="safe").dump(params, tmp_path / "params.yaml")
    shutil.copytree(project / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    downstream.main()
    counts = results(tmp_path)["rows"]["before"]["aotbench"]["counts"]
    assert (counts["questions"], counts["missing"], counts["failed"]) == (15, 0, 1)
    (line,) = (tmp_path / "reports/downstream/before/aotbench.errors.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == items[0].id and json.loads(line)["error"].startswith("not_a_video")
    assert not list((project / "reports/downstream").rglob("*.errors.jsonl"))
