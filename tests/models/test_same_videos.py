"""Questions about one video share one reading of it, and get the replies that they get one at a time."""

from dataclasses import replace

import pytest
import torch

from tests.support import families, tiny_policy
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_policy, load_processor
from videossr.models.encode_prompt import encode, encode_about_same_videos
from videossr.models.generation import Decoding, generate_about_same_videos, generate_rows
from videossr.models.policy import Prompt

SHARING = ("qwen3_vl", "qwen2_5_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
GREEDY = Decoding(max_new_tokens=12, temperature=0.0, end_ids=(), suppressed_ids=(), pad_id=0)
QUESTIONS = (
    "When was the video tampered with?",
    "How many shapes, 1,2,3? Answer with three numbers and nothing else, please.",
    "What?",
    "In which order do the clips belong? Answer 2,1,3.",
)


@pytest.fixture(scope="module", params=SHARING)
def folder(request, tmp_path_factory):
    return families.write_family(request.param, tmp_path_factory.mktemp(request.param))


def prompts_about(num_clips, head="", system=""):
    clips = tuple(list(tiny_policy.clips().values())[:num_clips])
    return [Prompt(head + "<video>" * num_clips + question, clips, system) for question in QUESTIONS]


@pytest.mark.parametrize("num_clips", [1, 2])
def test_prompts_about_the_same_videos_are_encoded_as_alone(folder, num_clips):
    processor = load_processor(folder)
    prompts = prompts_about(num_clips, head="Look: ", system="Be brief.")
    for together, prompt in zip(encode_about_same_videos(processor, prompts), prompts, strict=True):
        alone = encode(processor, prompt)
        assert torch.equal(together.input_ids, alone.input_ids)
        assert torch.equal(together.mm_token_type_ids, alone.mm_token_type_ids)
        assert torch.equal(together.pixel_values_videos, alone.pixel_values_videos)
        assert torch.equal(together.video_grid_thw, alone.video_grid_thw)


@pytest.mark.parametrize("num_clips", [1, 2])
def test_their_logits_and_completions_are_those_of_each_prompt_alone(folder, num_clips):
    model = load_model(folder, "float32")
    head = model.get_output_embeddings()
    # The logits of a random model are nearly equal, and favour the last token: give it an output layer of its own.
    torch.manual_seed(0)
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    logits = []
    head.register_forward_hook(lambda module, inputs, out: logits.append(out[0]))
    encoded = encode_about_same_videos(load_processor(folder), prompts_about(num_clips))
    assert len({len(prompt) for prompt in encoded}) > 2
    alone = torch.cat([generate_rows(model, [prompt], 1, GREEDY) for prompt in encoded])
    expected = torch.stack(logits).view(len(encoded), GREEDY.max_new_tokens, -1)
    use_branched_attention(model)
    del logits[:]
    assert torch.equal(generate_about_same_videos(model, encoded, GREEDY), alone)
    found = torch.stack(logits[1:], dim=1)  # the first are those of the prefix
    assert (found - expected).abs().max() < 1e-4
    assert (found - found.roll(1, dims=0)).abs().amax(dim=(1, 2)).min() > 1e-2, "the questions must make a difference"


def test_prompts_of_other_videos_cannot_share(folder):
    processor = load_processor(folder)
    first, second = (Prompt("<video>What?", (clip,)) for clip in list(tiny_policy.clips().values())[:2])
    short = replace(encode(processor, first), input_ids=torch.tensor([1, 2, 3]), mm_token_type_ids=torch.zeros(3))
    with pytest.raises(ValueError, match="same videos"):
        generate_about_same_videos(load_model(folder, "float32"), [encode(processor, second), short], GREEDY)


def test_a_policy_replies_as_to_each_prompt_alone_in_the_order_of_the_prompts(tmp_path):
    policy = load_policy(tiny_policy.write_tiny(tmp_path), max_new_tokens=10)
    one, two = prompts_about(1), prompts_about(2)
    other_head, other_system = prompts_about(1, head="Look: "), prompts_about(1, system="Be brief.")
    text_first = Prompt(f"{QUESTIONS[0]}<video>", one[0].clips)
    mixed = [one[0], two[1], other_head[2], one[1], text_first, two[0], other_system[1], other_system[0], one[2]]
    assert policy.respond(mixed) == [policy.respond([prompt])[0] for prompt in mixed]
