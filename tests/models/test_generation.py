"""Completions decoded as branches of one cache row are those of rows that repeat the prompt."""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from tests.support import tiny_policy
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, end_token_ids, generate_branches, generate_rows, truncate_at_end
from videossr.models.policy import Prompt

GREEDY = Decoding(max_new_tokens=10, temperature=0.0, end_ids=(), suppressed_ids=(), pad_id=0)
SAMPLED = replace(GREEDY, temperature=0.9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


@pytest.fixture(scope="module")
def prompts(folder):
    """Prompts of one clip and of eight, of different lengths."""
    processor = load_processor(folder)
    return [
        encode(processor, Prompt(s.question, tuple(tiny_policy.TASKS[s.task].render(s, tiny_policy.clips()))))
        for s in tiny_policy.samples(4)
    ]


@pytest.fixture(params=["sdpa", "branched"])
def model(folder, request):
    loaded = load_model(folder, "float32")
    if request.param == "branched":
        use_branched_attention(loaded)
    return loaded


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_branches_equal_rows_that_repeat_the_prompt(model, prompts, decoding):
    branches = generate_branches(model, prompts, 3, decoding, [1, 2, 3, 4])
    assert branches.shape == (12, 10)
    assert torch.equal(branches, generate_rows(model, prompts, 3, decoding, [1, 2, 3, 4]))


def test_branches_equal_rows_while_the_cache_grows(model, prompts):
    """The buffers of the short prompt are enlarged several times."""
    short = min(prompts, key=len)
    decoding = replace(SAMPLED, max_new_tokens=len(short))
    branches = generate_branches(model, [short], 4, decoding, [1])
    assert torch.equal(branches, generate_rows(model, [short], 4, decoding, [1]))


def test_a_group_does_not_depend_on_the_prompts_beside_it(model, prompts):
    together = generate_branches(model, prompts, 4, SAMPLED, [1, 2, 3, 4])
    alone = [generate_branches(model, [p], 4, SAMPLED, [s]) for p, s in zip(prompts, (1, 2, 3, 4), strict=True)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, generate_branches(model, prompts, 4, SAMPLED, [5, 6, 7, 8]))


def test_sampling_has_the_distribution_of_the_model(model, prompts):
    decoding = replace(SAMPLED, max_new_tokens=1, temperature=1.5)
    model.lm_head.weight.data *= 8  # a random model has nearly equal logits: spread them
    drawn = generate_branches(model, prompts[:1], 4000, decoding, [7]).flatten()
    with torch.no_grad():
        logits = model(
            input_ids=prompts[0].input_ids[None],
            mm_token_type_ids=prompts[0].mm_token_type_ids[None],
            pixel_values_videos=prompts[0].pixel_values_videos,
            video_grid_thw=prompts[0].video_grid_thw,
        ).logits[0, -1]
    expected = torch.softmax(logits.double() / 1.5, dim=-1)
    shares = torch.bincount(drawn, minlength=len(expected)).double() / len(drawn)
    assert expected.max() > 0.02, "the model must prefer some tokens, or the test shows nothing"
    for token in expected.topk(5).indices:
        assert abs(shares[token] - expected[token]) < 4 * (expected[token] / 4000) ** 0.5


def test_the_second_token_is_drawn_given_the_first_of_its_own_branch(model, prompts):
    """The mask hides the other branches: greedy second tokens after sampled first ones are those of single rows."""
    first = generate_branches(model, prompts[:1], 6, replace(SAMPLED, max_new_tokens=1, temperature=3.0), [7])
    assert len(set(first.flatten().tolist())) > 1
    both = generate_branches(model, prompts[:1], 6, replace(SAMPLED, max_new_tokens=2, temperature=3.0), [7])
    rows = generate_rows(model, prompts[:1], 6, replace(SAMPLED, max_new_tokens=2, temperature=3.0), [7])
    assert torch.equal(both[:, :1], first) and torch.equal(both, rows)


def test_a_branch_is_padded_after_its_end_and_generation_stops_after_the_last_one(model, prompts):
    free = generate_branches(model, prompts[:2], 2, SAMPLED, [1, 2])
    end = int(free[0, 2])
    decoding = replace(SAMPLED, end_ids=(end,), pad_id=5)
    ended = generate_branches(model, prompts[:2], 2, decoding, [1, 2])
    assert torch.equal(ended, generate_rows(model, prompts[:2], 2, decoding, [1, 2]))
    for row, whole in zip(ended.tolist(), free.tolist(), strict=True):
        kept = truncate_at_end(whole, (end,))[: len(row)]
        assert row == kept + [5] * (len(row) - len(kept))


def test_suppressed_tokens_are_never_generated(model, prompts):
    likely = generate_branches(model, prompts, 1, GREEDY).unique().tolist()
    decoding = replace(GREEDY, suppressed_ids=tuple(likely))
    other = generate_branches(model, prompts, 1, decoding)
    assert not set(other.unique().tolist()) & set(likely)
    assert torch.equal(other, generate_rows(model, prompts, 1, decoding))


@pytest.mark.parametrize("generate", [generate_branches, generate_rows])
def test_the_generation_settings_of_a_checkpoint_change_nothing(folder, prompts, generate):
    plain, changed = load_model(folder, "float32"), load_model(folder, "float32")
    settings = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_p": 0.5, "typical_p": 0.2, "top_k": 2}
    changed.generation_config = GenerationConfig(do_sample=True, min_new_tokens=9, **settings)
    for decoding in (GREEDY, SAMPLED):
        seeds = [1, 2, 3, 4]
        assert torch.equal(generate(changed, prompts, 2, decoding, seeds), generate(plain, prompts, 2, decoding, seeds))
    assert changed.generation_config.repetition_penalty == 5.0, "a saved policy keeps the settings of its checkpoint"


def test_dropout_is_off_while_sampling_and_on_again_after_it(folder, prompts):
    model = load_model(folder, "float32")
    for layer in model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    sampled = generate_branches(model.train(), prompts, 2, SAMPLED, [1, 2, 3, 4])
    assert model.training and model.lm_head.training
    assert torch.equal(sampled, generate_branches(model.eval(), prompts, 2, SAMPLED, [1, 2, 3, 4]))
    assert not model.training


def test_sampling_without_seeds_is_an_error(model, prompts):
    with pytest.raises(ValueError, match="a seed for each prompt"):
        generate_branches(model, prompts, 2, SAMPLED)


def test_a_reply_ends_with_the_end_tokens_of_checkpoint_and_tokenizer(folder):
    model, tokenizer = load_model(folder), load_processor(folder).tokenizer
    model.generation_config.eos_token_id = None
    assert end_token_ids(model, tokenizer) == (tokenizer.eos_token_id,)
    model.generation_config.eos_token_id = [1, 2]
    assert end_token_ids(model, tokenizer) == tuple(sorted({1, 2, tokenizer.eos_token_id}))
