"""Prompts are encoded while the step before them runs, and nothing else changes."""

import threading

import pytest
from trl.trainer.utils import RepeatSampler

from tests.support import tiny_policy, tiny_training
from videossr.models.checkpoint import load_processor
from videossr.models.policy import render_prompt
from videossr.train.lookahead import LookaheadSampler
from videossr.train.prompt_builder import PromptBuilder

IDS = [f"sample{i}" for i in range(7)]


def sampler(process=0, processes=1, repeats=2):
    repeated = RepeatSampler(IDS, mini_repeat_count=2, batch_size=2, repeat_count=repeats, seed=0)
    return LookaheadSampler(repeated, IDS, 4, 2, process, processes)


def test_the_order_is_that_of_the_sampler_below():
    repeated = RepeatSampler(IDS, mini_repeat_count=2, batch_size=2, repeat_count=2, seed=0)
    assert list(sampler()) == list(repeated) and len(sampler()) == len(repeated)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_prompts_after_a_batch_are_known_before_its_first_index_is_taken(repeats):
    order = [IDS[i] for i in list(sampler(repeats=repeats))]
    batches = [tuple(order[start : start + 4 : 2]) for start in range(0, len(order), 4 * repeats)]
    assert len(batches) == 3
    ahead = sampler(repeats=repeats)
    indices = iter(ahead)
    for batch, following in zip(batches, [*batches[1:], ()], strict=True):
        next(indices)
        assert ahead.prompts_after(batch) == following
        for _ in range(4 * repeats - 1):
            next(indices)


def test_a_process_knows_its_own_share():
    whole, second = sampler(), sampler(process=1, processes=2)
    order = [IDS[i] for i in whole]
    list(second)
    assert second.prompts_after([order[2]]) == (order[10],)


def builder(skipping=(), threads=None):
    def render(sample):
        if threads is not None:
            threads.append(threading.current_thread().name)
        if sample.sample_id in skipping:
            raise KeyError(sample.sample_id)
        return render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())

    samples = tiny_policy.samples(16)
    return PromptBuilder(samples, render, load_processor(tiny_training.warm()), 8192, 0), samples


def test_what_was_begun_is_what_would_have_been_built_and_is_rendered_once():
    threads = []
    (ahead, samples), (plain, _) = builder(threads=threads), builder()
    ids, positions = [s.sample_id for s in samples[:4]], [(3, i) for i in range(4)]
    ahead.begin(ids, positions)
    one, other = ahead.build_all(ids, positions), plain.build_all(ids, positions)
    assert [e.sample for e in one] == [e.sample for e in other]
    assert all(e.prompt.input_ids.equal(f.prompt.input_ids) for e, f in zip(one, other, strict=True))
    assert len(threads) == 4


def test_other_samples_than_those_begun_are_built_too():
    ahead, samples = builder()
    ahead.begin([samples[0].sample_id], [(1, 0)])
    names = [samples[1].sample_id, samples[2].sample_id]
    assert [e.sample.sample_id for e in ahead.build_all(names, [(2, 0), (2, 1)])] == names


def test_a_sample_that_cannot_be_used_is_skipped_only_when_its_step_begins():
    _, samples = builder()
    bad = samples[1].sample_id
    ahead, _ = builder(skipping={bad})
    ids, positions = [bad, samples[2].sample_id], [(0, 0), (0, 1)]
    ahead.begin(ids, positions)
    assert ahead.skipped == {}
    built = ahead.build_all(ids, positions)
    assert list(ahead.skipped) == [bad] and built[0].sample.sample_id != bad


@pytest.mark.parametrize("updates", [1, 2])
def test_training_begins_the_prompts_of_each_step_during_the_one_before(tmp_path, updates, monkeypatch):
    begun, built = [], []
    begin, build_all = PromptBuilder.begin, PromptBuilder.build_all

    def note_begin(self, ids, positions):
        begun.append(list(zip(ids, positions, strict=True)))
        begin(self, ids, positions)

    def note_build(self, ids, positions):
        built.append(list(zip(ids, positions, strict=True)))
        return build_all(self, ids, positions)

    monkeypatch.setattr(PromptBuilder, "begin", note_begin)
    monkeypatch.setattr(PromptBuilder, "build_all", note_build)
    grpo = {"steps": 3 * updates, "updates_per_rollout": updates, "checkpoint_every": 2}
    tiny_training.run(tmp_path, tiny_training.changed(tiny_training.warm(), grpo))
    assert len(built) == 3 and begun[:2] == built[1:]
