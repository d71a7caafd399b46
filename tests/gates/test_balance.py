"""The balance of answers: classes that are right more often than chance explains."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gate_data import KINDS, TASKS, GateData, valid_data, video
from videossr.gates.balance import CHANCE, balance_table, lower_share_bound
from videossr.gates.tables import GateContext, samples_table
from videossr.records import FrameTimes, Sample


def test_an_answer_that_is_right_too_often_fails_the_balance() -> None:
    data = valid_data()
    data.train = [sample for sample in data.train if sample.task != "jigsaw"]
    samples = samples_with_one_order(data, 40)
    data.train += samples
    result = data.validate()
    rows = {row for failure in result.failures if failure.table == "balance" for row in failure.rows}
    assert f"train jigsaw/6: order {samples[0].answer}" in rows
    assert all(row.startswith("train jigsaw/6") for row in rows)


def samples_with_one_order(data: GateData, count: int) -> list[Sample]:
    videos = [stored for stored in data.store.frame_times() if int(stored.video_id, 16) % 3]
    order = [3, 1, 4, 0, 5, 2]
    samples = []
    for i in range(count):
        sample = TASKS["jigsaw"].generate(videos[i % len(videos)], "6", np.random.default_rng(i))
        edit = {**sample.edit, "order": order}
        answer = TASKS["jigsaw"].answer(edit, videos[0].times)
        samples.append(replace(sample, sample_id=f"one-order-{i}", edit=edit, answer=answer))
    return samples


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_a_true_share_at_the_bound_gives_the_observed_count_in_at_most_one_of_ten_thousand_sets(
    total: int, num_classes: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, total))
    bound = lower_share_bound(count, total, num_classes)
    tail = sum(math.comb(total, k) * bound**k * (1 - bound) ** (total - k) for k in range(count, total + 1))
    assert 0 <= bound <= count / total and tail * num_classes <= CHANCE * (1 + 1e-6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 50) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), st.data())
def test_an_edit_of_any_form_is_checked_without_an_error(kind: str, data: st.DataObject) -> None:
    task, variant = kind.split("/")
    stored = FrameTimes(video(1).video_id, tuple(0.2 * i for i in range(48)))
    sample = TASKS[task].generate(stored, variant, np.random.default_rng(0), [video(2).video_id])
    key = data.draw(st.sampled_from(sorted(sample.edit)))
    broken = replace(sample, edit=data.draw(JSON | st.builds(lambda value: {**sample.edit, key: value}, JSON)))
    context = GateContext.of([video(1)], [stored], TASKS)
    derived = samples_table([broken], "train", [], context, {})["derived_answer"][0]
    assert derived is None or isinstance(derived, str)
    balance_table({"train": [broken]}, context)


@pytest.mark.parametrize("length", [17, 18, 40, math.inf, math.nan])
def test_the_balance_ignores_an_interval_longer_than_its_clip(length: float) -> None:
    data = valid_data()
    row = data.damage(
        "train", "grounding/mirror", 0, edit={**data.edit("train", "grounding/mirror", 0), "length": length}
    )
    context = GateContext.of(data.manifest, data.store.frame_times(), TASKS)
    broken = [sample for sample in data.train if sample.sample_id == row]
    assert balance_table({"train": broken}, context).empty
