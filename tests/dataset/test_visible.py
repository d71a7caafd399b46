"""Benchmark questions whose edit cannot be seen are drawn again, from another place or another video."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.gate_data import MemoryStore, moving_noise
from videossr.clip import Clip
from videossr.dataset.build import build_viubench
from videossr.dataset.params import BenchSet, PretextParams
from videossr.dataset.samples import canonical_edit
from videossr.pretext import Counting, Grounding, Jigsaw

PARAMS = PretextParams(
    grounding=Grounding(num_frames=16, min_length=3, max_length=5),
    counting=Counting(num_frames=16, min_gap=2),
    jigsaw=Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
    viubench=BenchSet(per_column=6),
)
GREY = Clip(np.full((48, 32, 32, 3), 128, np.uint8), 0.2 * np.arange(48))


def half_still(rng):
    """A video that moves in its first half alone: some intervals of it can be answered, others not."""
    moving = moving_noise(rng)
    return Clip(np.concatenate([moving.frames[:24], np.repeat(moving.frames[:1], 24, axis=0)]), moving.times)


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    clips = [moving_noise(rng), moving_noise(rng), GREY, half_still(rng)]
    return MemoryStore({f"{number:016x}": clip for number, clip in enumerate(clips)})


def invisible(samples, store):
    return [sample for sample in samples if PARAMS.tasks[sample.task].perceptibility(sample, store) < 1]


def test_questions_that_nobody_can_answer_are_drawn_again_under_their_id(store, caplog):
    before = build_viubench(PARAMS, store.frame_times())
    faulty = {sample.sample_id for sample in invisible(before, store)}
    after = build_viubench(PARAMS, store.frame_times(), store=store)
    assert len(faulty) > 3 and invisible(after, store) == []
    assert [sample.sample_id for sample in after] == [sample.sample_id for sample in before]
    assert {a.sample_id for a, b in zip(after, before, strict=True) if a != b} == faulty
    assert len({(s.kind, s.video_id, canonical_edit(s)) for s in after}) == len(after)
    assert f"{len(faulty)} of {len(after)} questions could not be answered" in caplog.text
    assert after == build_viubench(PARAMS, store.frame_times()[::-1], store=store)


def test_another_place_of_the_same_video_comes_first(store):
    before = build_viubench(PARAMS, store.frame_times())
    after = {sample.sample_id: sample for sample in build_viubench(PARAMS, store.frame_times(), store=store)}
    shuffles = [s for s in invisible(before, store) if s.kind == "grounding/shuffle" and s.video_id == f"{3:016x}"]
    assert all(after[sample.sample_id].video_id == sample.video_id for sample in shuffles)
    greys = [sample for sample in before if sample.kind == "jigsaw/6" and sample.video_id == f"{2:016x}"]
    assert greys and all(after[sample.sample_id].video_id != sample.video_id for sample in greys)


def test_where_no_video_is_suitable_the_questions_stay_for_the_gate_to_refuse(caplog):
    store = MemoryStore({f"{number:016x}": GREY for number in range(2)})
    after = build_viubench(PARAMS, store.frame_times(), store=store)
    assert after == build_viubench(PARAMS, store.frame_times())
    assert "0 were drawn again" in caplog.text


def test_a_difference_of_zero_keeps_every_question(store):
    params = replace(PARAMS, viubench=BenchSet(6, min_difference=0))
    assert build_viubench(params, store.frame_times(), store=store) == build_viubench(PARAMS, store.frame_times())
