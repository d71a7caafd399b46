"""Steps that teach nothing: one warning while it happens, with cause and remedy; a mark in the report."""

import logging
import shutil

import pytest
import torch

from tests.support import tiny_training
from videossr.errors import TrainingError
from videossr.models.checkpoint import load_model
from videossr.train.stalls import STALL_STEPS, Stall, describe, find_stalls

GOOD = {"reward": 0.4, "zero_variance": 0.2, "parsed/counting": 0.9, "completions/mean_length": 6.0}
UNPARSED = {**GOOD, "reward": 0.0, "zero_variance": 1.0, "parsed/counting": 0.0}
ZERO = {**GOOD, "reward": 0.0, "zero_variance": 1.0}
FLAT = {**GOOD, "zero_variance": 1.0}


def curve(*parts):
    rows = [row for row, count in parts for _ in range(count)]
    return [{"step": step, **row} for step, row in enumerate(rows, 1)]


@pytest.mark.parametrize(("row", "kind"), [(UNPARSED, "unparsed"), (ZERO, "zero_reward"), (FLAT, "flat_groups")])
def test_steps_that_teach_nothing_are_found_with_the_first_cause(row, kind):
    assert find_stalls(curve((GOOD, 5), (row, STALL_STEPS), (GOOD, 5)), 100) == [Stall(kind, 6, 5 + STALL_STEPS)]
    assert find_stalls(curve((GOOD, 5), (row, STALL_STEPS - 1), (GOOD, 5)), 100) == []


def test_a_run_that_learns_has_no_stall_and_a_short_run_counts_as_a_whole():
    assert find_stalls(curve((GOOD, 50)), 50) == []
    assert find_stalls(curve((FLAT, 4)), 4) == [Stall("flat_groups", 1, 4)]
    assert find_stalls(curve((FLAT, 3)), 4) == []


def test_steps_without_a_reward_do_not_end_a_stall():
    """With `updates_per_rollout`, only the step that samples logs rewards."""
    rows = [row for step in range(1, 21, 2) for row in ({"step": step, **ZERO}, {"step": step + 1, "loss": 0.0})]
    assert find_stalls(rows, 100) == [Stall("zero_reward", 1, 19)]


@pytest.mark.parametrize(
    ("row", "finite", "remedy"),
    [
        (UNPARSED, True, "warmup.phases"),
        ({**UNPARSED, "completions/mean_length": 8.0}, True, r"max_completion_tokens \(8\): raise it"),
        (ZERO, True, "reward: smooth"),
        (FLAT, True, "temperature"),
        (FLAT, False, "learning_rate"),
    ],
)
def test_the_sentence_names_the_remedy(row, finite, remedy):
    rows = curve((row, STALL_STEPS))
    (stall,) = find_stalls(rows, 100)
    with pytest.raises(ValueError, match=f"taught nothing: .*{remedy}"):
        raise ValueError(describe(stall, rows, 8, finite))


@pytest.fixture(scope="module")
def speechless(tmp_path_factory):
    """A run from a policy that was never warmed up: no completion parses."""
    folder, warned, records = tmp_path_factory.mktemp("speechless"), [], []
    params = tiny_training.changed(tiny_training.warm(), {"steps": 3, "max_completion_tokens": 2})
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("videossr.train.progress")
    logger.addHandler(handler)
    report = tiny_training.run(folder, params, warn=lambda kind, sentence: warned.append((kind, sentence)))
    logger.removeHandler(handler)
    return folder, report, warned, records


def test_training_that_goes_nowhere_warns_once_and_marks_its_report(speechless):
    folder, report, warned, records = speechless
    (sentence,) = report.warnings
    assert "steps 1 to 3 taught nothing: no completion" in sentence and "max_completion_tokens (2)" in sentence
    assert warned == [("unparsed", sentence)]
    assert [record.getMessage() for record in records] == [sentence]
    assert sentence in (folder / "train.json").read_text()


def test_weights_that_are_not_finite_are_named_as_the_cause(tmp_path):
    damaged = shutil.copytree(tiny_training.warm(), tmp_path / "damaged")
    model = load_model(damaged, "float32")
    with torch.no_grad():
        next(model.parameters())[:] = torch.nan
    model.save_pretrained(damaged)
    with pytest.raises(TrainingError, match="weights are damaged"):
        tiny_training.run(tmp_path, tiny_training.changed(damaged))


def test_a_policy_whose_weights_the_last_step_destroyed_is_not_written(tmp_path):
    params = tiny_training.changed(tiny_training.warm(), {"steps": 1, "learning_rate": 1e39})
    with pytest.raises(TrainingError, match="lower train.grpo.learning_rate"):
        tiny_training.run(tmp_path, params)
    assert not (tmp_path / "policy").exists()
