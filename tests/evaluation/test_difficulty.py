"""Difficulty curves: which question has which difficulty, means and intervals by hand, one figure by one command."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.frame_stores import PARAMS, write_four_videos
from videossr.cli import app
from videossr.dataset.build import build_viubench
from videossr.dataset.params import BenchSet, PretextParams
from videossr.dataset.samples import write_samples
from videossr.errors import SourceError
from videossr.evaluation.difficulty import FACTORS, difficulties, difficulty_curves, read_replies
from videossr.evaluation.runner import score_reply, write_scored_replies
from videossr.frames.store import FrameStore
from videossr.frames.writing import write_store
from videossr.pretext import Counting, Grounding, Jigsaw
from videossr.records import Sample

PRETEXT = PretextParams(
    grounding=Grounding(num_frames=12, min_length=2, max_length=5),
    counting=Counting(num_frames=12, min_gap=1),
    jigsaw=Jigsaw(frames_per_clip_4=3, frames_per_clip_6=2, frames_per_clip_8=3),
    viubench=BenchSet(8),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], Path]:
    folder = tmp_path_factory.mktemp("bench")
    params = PARAMS.__class__(num_frames=24, max_pixels=64 * 96, min_pixels=1024)
    write_store(write_four_videos(folder)[1:], folder / "frames", params, workers=0)
    samples = build_viubench(PRETEXT, FrameStore(folder / "frames").frame_times())
    write_samples(folder / "viubench.parquet", samples)
    return samples, folder


def write_replies(path: Path, samples: list[Sample], right: set[str]) -> None:
    scored = [score_reply(s, s.answer if s.sample_id in right else "?") for s in samples]
    write_scored_replies(path, scored, {"samples": "s", "policy": path.stem})


def test_the_difficulty_of_a_question_is_that_of_its_edit(bench: tuple[list[Sample], Path]):
    samples, folder = bench
    values = difficulties(samples, FrameStore(folder / "frames"), progress=False)
    assert list(values) == list(FACTORS)
    for sample in samples:
        if sample.task == "grounding":
            assert values["length"][sample.sample_id] == sample.edit["length"]
        elif sample.task == "jigsaw":
            assert values["clips"][sample.sample_id] == int(sample.variant)
        else:
            frames = [shape["frame"] for shape in sample.edit["shapes"]]
            assert values["shapes"][sample.sample_id] == max(frames.count(frame) for frame in frames)
    assert 2 <= len(set(values["strength"].values())) <= 4


def test_a_stronger_edit_is_in_a_higher_bin(bench: tuple[list[Sample], Path]):
    samples, folder = bench
    store = FrameStore(folder / "frames")
    grounding = [sample for sample in samples if sample.task == "grounding"]
    strength = {sample.sample_id: PRETEXT.grounding.perceptibility(sample, store) for sample in grounding}
    bins = difficulties(samples, store, progress=False)["strength"]
    ordered = sorted(strength, key=lambda name: strength[name])
    assert [bins[name] for name in ordered] == sorted(bins.values())
    assert np.mean(list(bins.values())) == pytest.approx(np.mean(list(strength.values())), abs=0.01)


def test_a_point_is_the_mean_over_the_questions_of_its_difficulty(bench: tuple[list[Sample], Path]):
    samples, folder = bench
    values = difficulties(samples, FrameStore(folder / "frames"), progress=False)
    right = {s.sample_id for s in samples if s.task == "jigsaw" and s.variant == "6"}
    scored = {"after": [score_reply(s, s.answer if s.sample_id in right else "?") for s in samples]}
    curves = difficulty_curves(values, scored)
    six, eight = curves["clips"]["after"]
    assert (six.value, six.mean, six.questions, eight.value, eight.mean) == (6, 100, 8, 8, 0)
    assert (six.low, six.high) == (0, 100)  # three videos give no interval
    assert sum(point.questions for point in curves["length"]["after"]) == 5 * 8


def test_one_command_draws_one_figure_from_the_replies_of_any_evaluation(
    bench: tuple[list[Sample], Path], tmp_path: Path
):
    samples, folder = bench
    write_replies(tmp_path / "after.jsonl", samples, {sample.sample_id for sample in samples})
    rows = [{"header": {}}, *({"id": sample.sample_id, "reply": "?", "times": []} for sample in samples)]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--samples", str(folder / "viubench.parquet"), "--frames", str(folder / "frames")]
    files = [str(tmp_path / "after.jsonl"), str(tmp_path / "other.jsonl")]
    arguments = ["viubench", "curves", *files, *options, "--out", str(tmp_path)]
    assert "difficulty.svg" in CliRunner().invoke(app, arguments, catch_exceptions=False).output
    numbers = json.loads((tmp_path / "difficulty.json").read_text())
    assert set(numbers) == set(FACTORS)
    assert {point["mean"] for factor in numbers.values() for point in factor["policies"]["after"]} == {100}
    assert {point["mean"] for factor in numbers.values() for point in factor["policies"]["other"]} == {0}
    before = (tmp_path / "difficulty.svg").read_bytes()
    assert before.startswith(b"<?xml")
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (tmp_path / "difficulty.svg").read_bytes() == before


def test_replies_to_other_questions_are_one_sentence(bench: tuple[list[Sample], Path], tmp_path: Path):
    samples, _ = bench
    write_replies(tmp_path / "part.jsonl", samples[1:], set())
    with pytest.raises(SourceError, match="a reply to each of the 72 questions, 1 have none"):
        read_replies([tmp_path / "part.jsonl"], samples)
