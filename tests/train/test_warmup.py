"""The warm start: phases, the samples of each, its loss, its learning rates, its optimizers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from tests.support import tiny_policy, tiny_training
from tests.support.torch_threads import num_threads
from videossr.errors import ConfigError, TrainingError
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.policy import render_prompt
from videossr.records import FrameTimes
from videossr.train.curriculum import tasks_in_phase
from videossr.train.params import WarmupParams, WarmupPhase
from videossr.train.prefix import Group, answer_losses, shared_logps
from videossr.train.prompt_builder import PromptBuilder
from videossr.train.warmup import rate_factor, warm_up
from videossr.train.warmup_batches import WarmupBatches

SHORT = {"grounding": {"num_frames": 4, "max_length": 2}}
TEXT = WarmupPhase(
    2,
    3,
    shows_videos=False,
    answers=5,
    mixture={"jigsaw/4": 1, "counting/easy": 1},
    settings={"jigsaw": {"frames_per_clip_4": 4}},
)
PHASES = (TEXT, WarmupPhase(3, 6, mixture={"grounding/mirror": 1}, settings=SHORT), WarmupPhase(4, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


@pytest.fixture(scope="module")
def processor(folder):
    return load_processor(folder)


def batches(processor, phases, samples=None, seed=0, max_prompt_tokens=4000):
    samples = samples or tiny_policy.samples(12)

    def frame_times(video_id):
        return FrameTimes(video_id, tuple(tiny_policy.clips()[video_id].times.tolist()))

    def render(sample):
        return render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())

    builder = PromptBuilder(samples, render, processor, max_prompt_tokens, seed)
    params = WarmupParams(phases)
    return WarmupBatches(params, samples, tiny_policy.TASKS, frame_times, builder, processor, seed)


def texts(processor, group):
    return [processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in group.completions]


def same(one, other):
    pixels = torch.equal(one.prompt.pixel_values_videos, other.prompt.pixel_values_videos)
    return pixels and torch.equal(one.prompt.input_ids, other.prompt.input_ids)


def test_a_phase_of_text_shows_questions_without_videos_and_answers_of_their_kind(processor):
    for group in batches(processor, PHASES).groups(0):
        assert not (group.prompt.mm_token_type_ids == 2).any() and group.prompt.video_grid_thw.shape == (0, 3)
        answers = texts(processor, group)
        assert len(answers) == 5 and len(set(answers)) > 1
        question = processor.tokenizer.decode(group.prompt.input_ids)
        is_jigsaw = "4 clips" in question
        assert is_jigsaw or "Circles" in question
        assert all((len(answer) == 4 and sorted(answer) == list("1234")) == is_jigsaw for answer in answers)
        assert all(ids[-1] == processor.tokenizer.eos_token_id for ids in group.completions)


def test_a_phase_with_settings_shows_samples_of_them_and_one_without_a_mixture_the_runs_own(processor):
    drawn = batches(processor, PHASES)
    for group in drawn.groups(2):
        assert group.prompt.video_grid_thw.tolist() == [[2, 4, 4]]  # four frames
        assert "left and right are exchanged" in processor.tokenizer.decode(group.prompt.input_ids)
    answers = {sample.answer for sample in tiny_policy.samples(12)}
    assert {text for step in (5, 6, 7, 8) for g in drawn.groups(step) for text in texts(processor, g)} <= answers


def test_the_samples_of_a_step_depend_on_seed_and_step_alone(processor):
    first, again, other_seed = (batches(processor, PHASES, seed=seed) for seed in (0, 0, 1))
    for step in (3, 1, 8):
        assert all(map(same, first.groups(step), again.groups(step)))
        assert not all(map(same, first.groups(step), other_seed.groups(step)))
    assert not all(map(same, first.groups(3), first.groups(4)))


def test_a_field_that_a_task_does_not_have_is_one_sentence():
    phase = WarmupPhase(mixture={"jigsaw/4": 1}, settings={"jigsaw": {"frames": 2}})
    with pytest.raises(ConfigError, match=r"phases\[1\].settings.jigsaw has no parameter 'frames'"):
        tasks_in_phase(phase, tiny_policy.TASKS, "phases[1]")


def test_prompts_that_are_all_too_long_are_one_sentence(processor):
    with pytest.raises(TrainingError, match="could not be used, the last because its prompt has .* more than 20"):
        batches(processor, PHASES, max_prompt_tokens=20).groups(3)


def test_the_loss_is_the_likelihood_of_the_answers_with_and_without_videos(folder, processor):
    model = load_model(folder, "float64")
    use_branched_attention(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    drawn = batches(processor, PHASES)
    for step in (0, 7):
        groups = drawn.groups(step)
        losses, (logps, _) = answer_losses(model, groups, 0), shared_logps(model, groups, 0)
        assert len(losses) == sum(len(ids) for group in groups for ids in group.completions)
        torch.testing.assert_close(losses.sum(), -logps.sum(), rtol=1e-12, atol=0)


def test_answers_that_share_a_question_do_not_see_one_another(folder, processor):
    model = load_model(folder, "float64")
    use_branched_attention(model)
    group = batches(processor, PHASES).groups(0)[0]
    together = answer_losses(model, [group], 0)
    alone = [answer_losses(model, [Group(group.prompt, [ids])], 0) for ids in group.completions]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)


def test_smaller_forward_passes_change_the_weights_by_rounding_only(folder, processor, tmp_path):
    weights = []
    for per_forward in (2, 16):
        model = load_model(folder, "float64")
        params = WarmupParams((WarmupPhase(3, 6),), prompts_per_forward=per_forward)
        curve = warm_up(model, batches(processor, params.phases), params, 0, tmp_path / "none.pt")
        weights.append((model.state_dict(), curve[-1]["loss"]))
    assert weights[0][1] == pytest.approx(weights[1][1], abs=1e-9)
    assert all(torch.allclose(weights[0][0][name], weight, atol=1e-6) for name, weight in weights[1][0].items())


def test_the_rate_rises_and_falls_in_text_and_once_over_all_phases_with_videos():
    phases = (WarmupPhase(20, shows_videos=False), WarmupPhase(40), WarmupPhase(60))
    rates = np.array([rate_factor(phases, step) for step in range(120)])
    text, videos = rates[:20], rates[20:]
    assert text.max() == 1 and 0.3 <= text[-1] < 0.36 and (np.diff(text[2:]) < 0).all()
    assert videos.argmax() in (4, 5) and videos.max() == 1 and (np.diff(videos[5:]) < 0).all()
    assert videos[-1] < 0.01 and videos[52] == pytest.approx(0.5, abs=0.02)


def test_one_core_and_two_learn_the_same_weights(folder, processor, tmp_path):
    results = []
    for threads in (1, 2):
        model, params = load_model(folder, "float32"), WarmupParams(PHASES, optimizer="muon")
        with num_threads(threads):
            curve = warm_up(model, batches(processor, PHASES), params, 0, tmp_path / f"{threads}.pt")
        results.append((curve, model.state_dict()))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(weight, results[1][1][name]) for name, weight in results[0][1].items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_loss_falls_and_a_restart_repeats_the_course(optimizer, folder, processor, tmp_path):
    params = replace(WarmupParams(PHASES, optimizer=optimizer, learning_rate=3e-3), checkpoint_every=4)
    drawn = batches(processor, PHASES)
    whole = load_model(folder, "float32")
    curve = warm_up(whole, drawn, params, 0, tmp_path / "whole.pt")
    assert [row["step"] for row in curve] == list(range(1, 10))
    assert curve[-1]["loss"] < curve[0]["loss"]
    continued = load_model(folder, "float32")
    assert warm_up(continued, drawn, params, 0, tmp_path / "whole.pt")[:8] == curve[:8]
    for name, weight in whole.state_dict().items():
        assert torch.allclose(continued.state_dict()[name], weight, atol=1e-6), name


def test_a_mixture_without_the_tasks_is_one_sentence(tmp_path):
    params = replace(tiny_training.PARAMS, warmup=WarmupParams(PHASES))
    paths = [tmp_path / name for name in ("start", "policy", "work", "train.json")]
    with pytest.raises(TrainingError, match="pass `tasks` to train"):
        tiny_training.train(params, tiny_training.COUNTING, tiny_policy.clips(), *paths, lambda metrics, step: None)
