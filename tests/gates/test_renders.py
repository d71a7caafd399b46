"""Puzzles that nobody can see are named, and refused where they are many."""

from dataclasses import replace

import numpy as np

from tests.support.gate_data import PARAMS, named, sound_data
from videossr.clip import Clip


def test_a_single_puzzle_that_cannot_be_seen_is_a_warning_that_names_it() -> None:
    data = sound_data()
    grey = data.train[data.only("train", "grounding/mirror")[0]].video_id
    data.store[grey] = Clip(np.full((48, 32, 32, 3), 128, np.uint8), data.store[grey].times)
    result = data.validate(replace(PARAMS, min_perceptible=0.5))
    unseen = ("channel_swap", "rotate_180", "mirror", "shuffle", "fast")
    for variant in unseen:
        rule = f"grounding/{variant}: at least 50% of the renders differ visibly from the clean clip"
        rows = {one.sample_id for one in data.train if one.variant == variant and one.video_id == grey}
        assert rows and named(result.warnings)["renders", rule] == rows
    assert result.success


def test_a_kind_of_puzzle_that_is_mostly_invisible_fails_alone() -> None:
    data = sound_data()
    for name, clip in data.store.items():
        # The same everywhere from left to right: a mirror shows nothing, all else does.
        frames = np.broadcast_to(clip.frames[:, :, :1], clip.frames.shape)
        data.store[name] = Clip(np.ascontiguousarray(frames), clip.times)
    failed = {one.expectation.split(":")[0]: set(one.rows) for one in data.validate().failures}
    mirrored = [one for one in (*data.train, *data.viubench) if one.variant == "mirror"]
    assert failed["grounding/mirror"] == {one.sample_id for one in mirrored}
    assert "grounding/rotate_180" not in failed
