"""Prompts, times, answers and the loss with the published vocabulary, which no downloaded model is needed for."""

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from tests.support import ROOT, tiny_policy
from tests.support.published_tokenizer import VOCABULARY, published_tokenizer, write_policy
from videossr import config
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import MAX_NEW_TOKENS, load_model, load_policy, load_processor
from videossr.models.encode_prompt import encode, encode_about_same_videos
from videossr.models.policy import Prompt, render_prompt
from videossr.plan.architecture import read_architecture
from videossr.plan.costs import prompt_size
from videossr.train.prefix import Group, repeated_logps, shared_logps

pytestmark = pytest.mark.slow
SAMPLES = tiny_policy.samples(32)
# The longest answer that each task can have: hours of video, ten shapes a kind, eight clips.
LONGEST = {"grounding": "10000.25-10800.75", "counting": "10,10,10", "jigsaw": "87654321"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_policy(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def encoded(folder):
    processor = load_processor(folder)
    prompts = [render_prompt(s, tiny_policy.TASKS[s.task], tiny_policy.clips()) for s in SAMPLES[:4]]
    return [encode(processor, prompt) for prompt in prompts]


def test_special_tokens_have_their_published_ids():
    ids = published_tokenizer().convert_tokens_to_ids(["<|im_end|>", "<|vision_start|>", "<|video_pad|>"])
    assert ids == [151645, 151652, 151656]


@pytest.mark.parametrize("text", ["12.3 - 30.45 seconds>", "1,0,2", "87654321"])
def test_every_digit_is_a_token_of_its_own(text):
    tokens = published_tokenizer().tokenize(text)
    assert [token for token in tokens if any(letter.isdigit() for letter in token)] == [c for c in text if c.isdigit()]


def test_the_time_of_every_pair_of_frames_is_in_the_prompt(folder, encoded):
    clips = render_prompt(SAMPLES[0], tiny_policy.TASKS[SAMPLES[0].task], tiny_policy.clips()).clips
    text = load_processor(folder).tokenizer.decode(encoded[0].input_ids)
    for first, second in zip(clips[0].times[::2], clips[0].times[1::2], strict=True):
        assert f"<{(first + second) / 2:.1f} seconds>" in text


def test_the_plan_estimates_the_tokens_of_a_prompt_within_4_percent(folder, encoded):
    vision = read_architecture(load_model(folder, "float32"), "published").vision
    for sample, prompt in zip(SAMPLES, encoded, strict=False):
        rendered = render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())
        assert prompt_size(vision, rendered).tokens == pytest.approx(len(prompt), rel=0.04)


def test_answers_survive_the_tokenizer_and_fit_the_completions_of_every_recipe():
    tokenizer = published_tokenizer()
    longest = 0
    for text in [*LONGEST.values(), *(sample.answer for sample in SAMPLES)]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        longest = max(longest, len(ids) + 1)  # and the end token
    assert longest <= MAX_NEW_TOKENS
    recipes = [config.load(path)["train"] for path in (ROOT / "recipes").glob("*.yaml")]
    published = [
        train["grpo"] for train in recipes if train["policy"] != "tiny-random"
    ]  # it has a tokenizer of its own
    assert published and all(grpo["max_completion_tokens"] >= longest for grpo in published)


def test_questions_about_one_video_are_encoded_as_alone(folder):
    processor, clip = load_processor(folder), next(iter(tiny_policy.clips().values()))
    prompts = [Prompt(f"<video>{s.question.replace('<video>', '')}", (clip,)) for s in SAMPLES[:4]]
    prompts += [Prompt(f"<video>{text}", (clip,)) for text in ("\n\nWhen?", " 3 or 4", "Wann fällt 球?")]
    for together, prompt in zip(encode_about_same_videos(processor, prompts), prompts, strict=True):
        assert torch.equal(together.input_ids, encode(processor, prompt).input_ids)


def test_the_fused_head_of_the_whole_vocabulary_has_the_exact_loss(folder, encoded):
    generator = torch.Generator().manual_seed(0)
    groups = [Group(p, [torch.randint(VOCABULARY, (n,), generator=generator) for n in (3, 5)]) for p in encoded[:2]]
    exact, _ = repeated_logps(load_model(folder, "float64"), groups, 0)
    model = load_model(folder, "float32")
    add_fused_lm_head(model)
    use_branched_attention(model)
    found, _ = shared_logps(model, groups, 0)
    assert (found - exact).abs().max() < 1e-4


def test_a_policy_with_the_vocabulary_answers(folder):
    policy = load_policy(folder, max_new_tokens=4)
    clip = next(iter(tiny_policy.clips().values()))
    replies = policy.respond([Prompt("<video>When?", (clip,)), Prompt("<video>What?", (clip,))])
    assert len(replies) == 2 and not any("<|" in reply for reply in replies)
