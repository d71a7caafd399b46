"""The best constant answer, and the floors that it sets for each task."""

import numpy as np
import pytest

from videossr import rewards
from videossr.pretext import TASKS
from videossr.pretext.baselines import best_constant, best_interval, blind_floors, grid_intervals
from videossr.records import FrameTimes


def test_the_first_candidate_wins_a_tie() -> None:
    assert best_constant("cab", "aabbc", lambda candidate, answer: float(candidate == answer)) == ("a", 0.4)


def test_the_grid_holds_every_interval_between_two_steps() -> None:
    assert grid_intervals(2) == [(0.0, 0.5), (0.0, 1.0), (0.5, 1.0)]
    assert len(grid_intervals(48)) == 48 * 49 // 2


@pytest.mark.parametrize("seed", range(5))
def test_the_best_interval_is_the_best_constant_by_iou(seed: int) -> None:
    starts, lengths = np.random.default_rng(seed).uniform(0.01, 0.6, (2, 40))
    answers = [(float(start), float(start + length)) for start, length in zip(starts, lengths, strict=True)]
    best, mean = best_interval(grid_intervals(20), answers)
    assert (best, pytest.approx(mean)) == best_constant(grid_intervals(20), answers, rewards.interval_iou)


def test_the_first_interval_wins_a_tie() -> None:
    assert best_interval([(0.0, 3.0), (1.0, 2.0), (2.0, 3.0)], [(1.0, 2.0), (2.0, 3.0)]) == ((1.0, 2.0), 0.5)


def test_the_floors_at_the_papers_parameters_are_the_known_ones() -> None:
    video = FrameTimes("video", tuple(np.arange(48) / 4))
    kinds = [("grounding", "mirror"), ("counting", "easy"), ("jigsaw", "6"), ("jigsaw", "8")]
    samples = [
        TASKS[task]().generate(video, variant, np.random.default_rng(seed))
        for task, variant in kinds
        for seed in range(400)
    ]
    floors = blind_floors(samples)
    assert floors["grounding"] == pytest.approx(0.307, abs=0.02)
    assert floors["counting"] == pytest.approx(0.585, abs=0.02)
    assert floors["jigsaw"] == pytest.approx(0.352, abs=0.02)
