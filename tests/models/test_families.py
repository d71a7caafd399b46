"""Qwen2.5-VL runs through the same code as Qwen3-VL, with its own pixel grid and its own time positions."""

import pytest
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from tests.support import tiny_policy, tiny_training
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_policy, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, generate_branches, generate_rows
from videossr.models.model_inputs import encode_vision, prompt_positions
from videossr.models.policy import Prompt
from videossr.models.tiny_random import CHAT_TEMPLATE, VISION_TOKENS, train_tokenizer
from videossr.train.params import LoraParams
from videossr.train.prefix import Group, repeated_logps, shared_logps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint folder of a random Qwen2.5-VL with a few hundred thousand parameters."""
    folder = tmp_path_factory.mktemp("qwen2_5")
    tokenizer = train_tokenizer([f"{s.question} {s.answer}" for s in tiny_policy.samples(32)], 512)
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in VISION_TOKENS)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def render(sample):
    return Prompt(sample.question, tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips())))


def prompts(folder):
    processor = load_processor(folder)
    return [encode(processor, render(tiny_policy.samples(4)[i])) for i in (0, 3)]


def test_frames_are_scaled_to_the_nearest_sides_of_its_grid(folder):
    one_clip, eight_clips = prompts(folder)
    assert one_clip.video_grid_thw.tolist() == [[4, 4, 4]], "64 pixels become 56: two cells of 28, in patches of 14"
    assert eight_clips.video_grid_thw.tolist() == [[1, 4, 4]] * 8
    assert (one_clip.mm_token_type_ids == 2).sum() == 16


def test_position_ids_follow_presentation_times(folder):
    prompt, _ = prompts(folder)
    # A temporal patch holds two frames. Every second stored frame is shown, at 3 stored frames per second: 4/3 s.
    step = 2 * (tiny_policy.clips()["video0"].times[2] - tiny_policy.clips()["video0"].times[0])
    assert prompt.second_per_grid_ts.tolist() == pytest.approx([step])
    positions = prompt_positions(load_model(folder, "float32"), prompt)[1][prompt.mm_token_type_ids == 2]
    temporal = positions.view(4, 4)[:, 0] - positions[0]
    assert temporal.tolist() == [int(i * 2 * step) for i in range(4)], "two positions per second"


@pytest.mark.parametrize("attention", ["branched", "dense"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
def test_the_shared_prefix_equals_repeated_prompts_in_value_and_gradient(folder, checkpointing, attention):
    model = load_model(folder, "float64").train()
    if attention == "branched":
        use_branched_attention(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    generator = torch.Generator().manual_seed(0)
    groups = [Group(p, [torch.randint(7, 300, (n,), generator=generator) for n in (3, 9, 1)]) for p in prompts(folder)]
    results = []
    for logps in (shared_logps, repeated_logps):
        model.zero_grad()
        values, _ = logps(model, groups, 0)
        (values * torch.linspace(0.1, 1, values.numel()).view_as(values)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((values.detach(), gradient))
    (shared, shared_gradient), (repeated, repeated_gradient) = results
    torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-9)
    assert (shared_gradient - repeated_gradient).norm() <= 1e-6 * repeated_gradient.norm()


def test_branches_have_the_completions_of_repeated_prompts(folder):
    model = load_model(folder, "float32").eval()
    decoding = Decoding(max_new_tokens=8, temperature=0, end_ids=(), suppressed_ids=(), pad_id=0)
    encoded = prompts(folder)
    repeated = generate_rows(model, encoded, 3, decoding)
    assert torch.equal(generate_branches(model, encoded, 3, decoding), repeated)
    assert torch.equal(generate_branches(model, encode_vision(model, encoded), 3, decoding), repeated)


@pytest.mark.parametrize("lora", [None, LoraParams(rank=4)], ids=["full", "lora"])
def test_training_passes_the_vision_check_and_writes_a_policy_that_answers(folder, tmp_path, lora):
    report = tiny_training.run(
        tmp_path, tiny_training.changed(folder, {"kl_coefficient": 1e-3, "steps": 1}, lora=lora), tiny_policy.samples(8)
    )
    assert report.vision_sensitivity_nats > 0 and len(report.grpo) == 1
    assert len(load_policy(tmp_path / "policy", 4).respond([render(tiny_policy.samples(1)[0])])) == 1
