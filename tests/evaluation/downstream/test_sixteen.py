"""Each of the sixteen public benchmarks from made records in its published schema and made videos to its number."""

import os
from pathlib import Path

import cv2
import pytest

from tests.support.benchmark_records import write_made_records
from tests.support.videos import numbered_frames, write_video
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import PROTOCOLS, Items, find_videos, score
from videossr.evaluation.downstream import FrameBudget, answer_items
from videossr.models.policy import Prompt, ScriptedPolicy

SIXTEEN = [key for key in BENCHMARKS if key != "viubench"]
BUDGET = FrameBudget(num_frames=4, min_pixels=32 * 32, max_pixels=64 * 64)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds: longer than the bounds of the made records of MVBench."""
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    write_video(path, num_frames=200, fps=10)
    return path


def write_videos(items: Items, folder: Path, video: Path) -> None:
    """The made video under each name of the items, and pictures where the benchmark has folders of them."""
    for ref in {ref for item in items for ref in item.videos}:
        path = folder / ref.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not ref.is_frame_folder:
            if not path.exists():
                os.link(video, path)
            continue
        path.mkdir(exist_ok=True)
        for number, frame in enumerate(numbered_frames(60), start=1):
            cv2.imwrite(str(path / f"{number:05d}.jpg"), frame[..., ::-1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("key", SIXTEEN)
def test_a_benchmark_from_its_records_to_its_number(key: str, protocol: str, video: Path, tmp_path: Path):
    write_made_records(key, tmp_path)
    items = load(key, tmp_path, counts=False)
    write_videos(items, tmp_path, video)
    found = find_videos(items, tmp_path)
    assert not found.missing

    asked: list[Prompt] = []
    right = {item.id: item.answer.split(";")[0] for item in items}

    def respond(prompt: Prompt) -> str:
        asked.append(prompt)
        return "I cannot say."

    options = {"budget": BUDGET, "protocol": protocol, "batch_size": 4, "progress": False}
    answers = answer_items(ScriptedPolicy(respond), items, found, tmp_path / "out", policy_id="mute", **options)
    assert not answers.errors and answers.replies == dict.fromkeys(right, "I cannot say.")
    assert sum(len(prompt.clips) for prompt in asked) == sum(len(item.videos) for item in items)
    assert all(prompt.text.count("<video>") == len(prompt.clips) for prompt in asked)
    wrong = score(items, answers.for_scoring, num_resamples=10)
    assert wrong.number.mean == 0 and wrong.counts.parsed == 0
    assert score(items, right, num_resamples=10).number.mean == pytest.approx(100, abs=0.01)
    assert len(asked) == wrong.counts.questions == wrong.counts.answered == len(items)
