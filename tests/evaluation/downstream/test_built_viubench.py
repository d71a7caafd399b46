"""A VIUBench that was built from videos, evaluated outside the graph: from the command to scores by task."""

import json
from pathlib import Path
from statistics import mean

import pytest
from typer.testing import CliRunner

from tests.support import tiny_policy
from videossr import rewards
from videossr.cli import app
from videossr.evaluation import load
from videossr.evaluation.benchmarks import Item, Items
from videossr.evaluation.downstream import read_answers
from videossr.evaluation.downstream.results import summarise
from videossr.ingest.synthetic import SyntheticParams, make_videos

TASKS = {"grounding", "counting", "jigsaw"}


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `viubench` has six questions in each column about six made videos."""
    folder = tmp_path_factory.mktemp("built")
    scenes = SyntheticParams(num_videos=6, min_seconds=5.0, max_seconds=5.0, size_pixels=64)
    make_videos(scenes, 11, folder / "videos", workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOSSR_WORKERS", "0")
        invoke("viubench", "build", folder / "videos", folder / "viubench", "--per-column", 6, "--licence", "CC0")
    return folder


def wrong_about_half(items: Items) -> dict[str, str]:
    """Right replies to every other question; to the others one count is right, half of the interval, or the order."""
    return {item.id: item.answer if place % 2 else _half_right(item) for place, item in enumerate(items)}


def _half_right(item: Item) -> str:
    if item.task == "counting":
        first, *others = (int(count) for count in item.answer.split(","))
        return ",".join(map(str, (first, *(count + 1 for count in others))))
    if item.task == "grounding":
        start, end = map(float, item.answer.split("-"))
        return f"{start:.1f}-{start + (end - start) / 2:.1f}"
    return item.answer[1:] + item.answer[0]


def strict_score(item: Item, reply: str) -> float:
    """The metric of the paper by hand: exact counts, the IoU of the interval, the exact order."""
    if item.task == "counting":
        return mean(float(a == b) for a, b in zip(reply.split(","), item.answer.split(","), strict=True))
    if item.task == "jigsaw":
        return float(reply == item.answer)
    (start, end), (right_start, right_end) = (map(float, text.split("-")) for text in (reply, item.answer))
    both = min(end, right_end) - max(start, right_start)
    return max(0.0, both) / (max(end, right_end) - min(start, right_start))


def test_the_number_is_the_mean_of_strict_metrics_with_the_three_tasks_and_intervals_over_videos(annotations: Path):
    items = load("viubench", annotations / "viubench", counts=False)
    replies = wrong_about_half(items)
    record = summarise(items, replies)
    values = {item.id: 100 * strict_score(item, replies[item.id]) for item in items}
    number = record["columns"]["score"]
    assert number["mean"] == pytest.approx(mean(values.values()), abs=1e-3)
    assert (number["units"], number["videos"]) == (54, 6)
    low, high = number["ci95"]
    assert 0 < low <= number["mean"] <= high < 100
    tasks = record["groups"]["task"]
    assert tasks.keys() == TASKS
    for task, columns in tasks.items():
        of_task = [values[item.id] for item in items if item.task == task]
        assert columns["score"]["mean"] == pytest.approx(mean(of_task), abs=1e-3) and 40 < mean(of_task) < 90
    assert record["chance"]["score"] < 30 and record["counts"]["parsed"] == 54


@pytest.mark.slow
def test_the_command_asks_every_question_once_whatever_the_frames_and_shows_the_tasks(
    annotations: Path, tmp_path: Path
):
    policy = tiny_policy.write_tiny(tmp_path / "tiny")
    options = ("--benchmark", "viubench", "--annotations", annotations, "--part", "--out", tmp_path / "out")
    printed = invoke("evaluate", "--policy", policy, "--frames", 32, 64, *options)
    (path,) = (tmp_path / "out").glob("*.jsonl")
    answers = read_answers(path)
    assert len(answers.replies) == 54 and answers.errors == {} and answers.header["frames"]["num_frames"] == 48
    assert {len(times) for clips in answers.times.values() for times in clips} <= set(range(2, 49))
    table = [line for line in printed.splitlines() if not line.startswith("replies to")]
    assert all(len(line) <= 80 for line in table), printed
    assert sum(line.startswith("viubench ") for line in table) == 1
    assert all(any(line.startswith(f"  {task}") for line in table) for task in TASKS)
    items = load("viubench", annotations / "viubench", counts=False)
    out = tmp_path / "scores.json"
    invoke("rescore", path, "--annotations", annotations, "--out", out)
    (record,) = json.loads(out.read_text(encoding="utf-8")).values()
    expected = mean(100 * rewards.metric(item.task, answers.replies[item.id], item.answer) for item in items)
    assert record["columns"]["score"]["mean"] == pytest.approx(expected, abs=1e-3)
    browsed = invoke("browse", path, "--out", tmp_path / "page", "--annotations", annotations, "--thumbnails", 4)
    assert "54 items, frames of 4" in browsed and (tmp_path / "page" / "index.html").exists()
