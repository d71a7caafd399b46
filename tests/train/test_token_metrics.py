"""Metrics by task are means over all tokens of a step, however it is cut."""

import pytest
import torch

from tests.support import tiny_policy, tiny_training
from videossr.train.token_metrics import TokenMetrics

SAMPLES = tiny_policy.samples(64)


@pytest.fixture(scope="module")
def start():
    return tiny_training.warm()


def grpo_curve(start, folder, samples=SAMPLES, **grpo):
    return tiny_training.run(folder, tiny_training.changed(start, {"steps": 2, **grpo}), samples).grpo


def test_token_metrics_are_means_over_all_passes_and_processes():
    ones = torch.ones(2, 3)
    metrics = TokenMetrics(["counting", "grounding", "jigsaw"])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    metrics.add("kl", ["counting", "jigsaw"], torch.cat([ones, torch.tensor([[0, torch.nan, torch.nan]] * 2)]), mask)
    metrics.add("kl", ["counting"], 3 * ones, torch.tensor([[1, 0, 0], [0, 0, 0]]))
    metrics.add("kl", ["jigsaw", "grounding"], torch.nan * mask, mask, [False, False])
    means = metrics.take(lambda sums: 2 * sums)
    assert means == pytest.approx({"kl/counting": (5 * 1 + 1 * 3) / 6, "kl/jigsaw": 0.0})
    assert metrics.take(lambda sums: sums) == {}


def test_a_task_alone_has_the_length_divergence_and_entropy_of_the_step(start, tmp_path):
    # In one pass, because TRL's means are means over passes.
    for row in grpo_curve(start, tmp_path, tiny_training.COUNTING, kl_coefficient=1e-3, prompts_per_forward=4):
        assert row["kl/counting"] == pytest.approx(row["kl"], rel=1e-4, abs=1e-9)
        assert row["entropy/counting"] == pytest.approx(row["entropy"], rel=1e-5)
        assert row["length/counting"] == pytest.approx(row["completions/mean_length"], rel=1e-6)


def test_metrics_by_task_do_not_depend_on_how_a_step_is_cut(start, tmp_path):
    grpo = {"kl_coefficient": 1e-3, "learning_rate": 1e-4, "prompts_per_rollout": 4}
    whole = grpo_curve(start, tmp_path / "whole", prompts_per_forward=4, **grpo)
    cut = grpo_curve(start, tmp_path / "cut", prompts_per_forward=1, **grpo)
    for one, other in zip(whole, cut, strict=True):
        names = {name for name in one if name.startswith(("length/", "kl/", "entropy/"))}
        assert len(names) >= 6, "two tasks at least"
        assert {name: one[name] for name in names} == pytest.approx({n: other[n] for n in names}, rel=1e-3, abs=1e-6)


def test_entropy_is_logged_where_groups_were_computed_and_divergence_where_it_has_a_weight(start, tmp_path):
    rows = grpo_curve(start, tmp_path / "some", tiny_training.COUNTING)
    rows += grpo_curve(tiny_policy.write_tiny(tmp_path / "tiny-random"), tmp_path / "none", tiny_training.COUNTING)
    assert [("entropy/counting" in row) for row in rows] == [row["zero_variance"] < 1 for row in rows]
    assert {"entropy/counting" in row for row in rows} == {True, False}
    assert not any(name.startswith("kl") for row in rows for name in row)
