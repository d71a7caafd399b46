"""Answers that are given too often, beyond what chance explains."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gate_data import KINDS, TASKS, Data, sound_data, video
from videossr.gates.balance import CHANCE, balance_table, lower_share_bound
from videossr.gates.tables import GateContext, samples_table
from videossr.records import FrameTimes, Sample


def test_answers_that_one_guess_gets_right_too_often_fail_the_balance() -> None:
    data = sound_data()
    data.train = [sample for sample in data.train if sample.task != "jigsaw"]
    clips = puzzles_with_one_order(data, 40)
    data.train += clips
    result = data.validate()
    rows = {row for one in result.failures if one.table == "balance" for row in one.rows}
    assert f"train jigsaw/6: order {clips[0].answer}" in rows
    assert all(row.startswith("train jigsaw/6") for row in rows)


def puzzles_with_one_order(data: Data, number: int) -> list[Sample]:
    footage = [one for one in data.store.frame_times() if int(one.video_id, 16) % 3]
    order = [3, 1, 4, 0, 5, 2]
    made = []
    for i in range(number):
        sample = TASKS["jigsaw"].generate(footage[i % len(footage)], "6", np.random.default_rng(i))
        edit = {**sample.edit, "order": order}
        answer = TASKS["jigsaw"].answer(edit, footage[0].times)
        made.append(replace(sample, sample_id=f"one-order-{i}", edit=edit, answer=answer))
    return made


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_chance_explains_a_class_at_most_once_in_ten_thousand_below_its_proven_share(
    total: int, num_classes: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, total))
    share = lower_share_bound(count, total, num_classes)
    tail = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))
    assert 0 <= share <= count / total and tail * num_classes <= CHANCE * (1 + 1e-6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 50) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), st.data())
def test_an_edit_of_any_form_is_judged_without_an_error(kind: str, data: st.DataObject) -> None:
    task, variant = kind.split("/")
    footage = FrameTimes(video(1).video_id, tuple(0.2 * i for i in range(48)))
    sample = TASKS[task].generate(footage, variant, np.random.default_rng(0), [video(2).video_id])
    key = data.draw(st.sampled_from(sorted(sample.edit)))
    broken = replace(sample, edit=data.draw(JSON | st.builds(lambda value: {**sample.edit, key: value}, JSON)))
    source = GateContext.of([video(1)], [footage], TASKS)
    rows = samples_table([broken], "train", [], source, {})
    assert rows["derived"][0] is None or isinstance(rows["derived"][0], str)
    balance_table({"train": [broken]}, source)


@pytest.mark.parametrize("length", [17, 18, 40, math.inf, math.nan])
def test_an_interval_longer_than_its_clip_is_left_to_the_rule_that_names_it(length: float) -> None:
    data = sound_data()
    row = data.damage(
        "train", "grounding/mirror", 0, edit={**data.edit("train", "grounding/mirror", 0), "length": length}
    )
    source = GateContext.of(data.manifest, data.store.frame_times(), TASKS)
    broken = [sample for sample in data.train if sample.sample_id == row]
    assert balance_table({"train": broken}, source).empty
