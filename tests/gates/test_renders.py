"""Samples whose edit is invisible are warnings; many of them fail the gate."""

from dataclasses import replace

import numpy as np

from tests.support.gate_data import PARAMS, rows_by_rule, valid_data
from videossr.clip import Clip


def test_a_few_samples_with_an_invisible_edit_are_warnings() -> None:
    data = valid_data()
    grey = data.train[data.indices("train", "grounding/mirror")[0]].video_id
    data.store[grey] = Clip(np.full((48, 32, 32, 3), 128, np.uint8), data.store[grey].times)
    result = data.validate(replace(PARAMS, min_perceptible=0.5))
    invisible = ("channel_swap", "rotate_180", "mirror", "shuffle", "fast")
    for variant in invisible:
        rule = f"grounding/{variant}: at least 50% of the rendered samples differ visibly from the unedited clip"
        rows = {sample.sample_id for sample in data.train if sample.variant == variant and sample.video_id == grey}
        assert rows and rows_by_rule(result.warnings)["renders", rule] == rows
    assert result.success


def test_a_kind_with_mostly_invisible_edits_fails_without_the_other_kinds() -> None:
    data = valid_data()
    for name, clip in data.store.items():
        # Every row has one colour, so that mirroring changes nothing. All other edits are visible.
        frames = np.broadcast_to(clip.frames[:, :, :1], clip.frames.shape)
        data.store[name] = Clip(np.ascontiguousarray(frames), clip.times)
    failed = {failure.expectation.split(":")[0]: set(failure.rows) for failure in data.validate().failures}
    mirrored = [sample for sample in (*data.train, *data.viubench) if sample.variant == "mirror"]
    assert failed["grounding/mirror"] == {sample.sample_id for sample in mirrored}
    assert "grounding/rotate_180" not in failed
