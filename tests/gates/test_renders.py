"""Samples whose edit is invisible are warnings; many of them fail the gate."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.support.gate_data import PARAMS, rows_by_rule, valid_data
from videossr.clip import Clip
from videossr.frames.lossless import decode_png
from videossr.gates import write_gate


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


def test_the_page_shows_an_invisible_edit_with_the_parameter_and_the_remedy(tmp_path: Path) -> None:
    data = valid_data()
    for name, clip in data.store.items():
        data.store[name] = Clip(np.repeat(clip.frames[:1], len(clip), axis=0), clip.times)
    result = data.validate()
    invisible = [failure for failure in result.failures if failure.table == "renders"]
    assert {row for failure in invisible for row in failure.rows} >= set(result.pictures)
    assert {failure.rows[0] for failure in invisible} <= set(result.pictures)
    write_gate(result, tmp_path)
    page = (tmp_path / "gate.html").read_text(encoding="utf-8")
    (first, *_) = result.pictures
    encoded = re.search(rf'<img src="data:image/png;base64,([^"]+)" alt="{re.escape(first)}', page)
    assert encoded is not None
    picture = decode_png(base64.b64decode(encoded[1]))
    shown, unedited = picture[:64], picture[68:]
    assert np.array_equal(shown, unedited)  # nobody can see this edit
    assert "validate.min_perceptible" in page and "add others" in page
    assert "What to do: " in result.summary() and "validate.min_perceptible" in result.summary()
