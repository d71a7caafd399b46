"""The video policy: true time stamps in the prompt, one marker per clip, one reply per prompt, plain errors."""

import numpy as np
import pytest
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from tests.support import tiny_policy
from videossr.clip import Clip
from videossr.errors import PolicyError
from videossr.models.checkpoint import answer_settings, load_model, load_policy, load_processor
from videossr.models.encode_prompt import chat_messages, encode
from videossr.models.model_inputs import vision_token_ids
from videossr.models.policy import Prompt
from videossr.models.qwen import QwenPolicy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


def grey_clip(times):
    return Clip(np.full((len(times), 32, 32, 3), 127, np.uint8), np.array(times, np.float64))


def test_the_encoded_prompt_equals_the_golden_text(folder):
    """A transformers release that moves a token or a time stamp fails here."""
    processor = load_processor(folder)
    prompt = Prompt(
        "Clip 1: <video>\nClip 2: <video>\nOrder?", (grey_clip([0, 0.5, 1.1, 2.0]), grey_clip([0.25, 0.75]))
    )
    ids = encode(processor, prompt).input_ids
    patch = "<|vision_start|><|video_pad|><|vision_end|>"
    assert processor.tokenizer.decode(ids) == (
        "<|im_start|>system\nAnswer directly, in the format asked for.<|im_end|>\n"
        "<|im_start|>user\n"
        f"Clip 1: <|vision_start|><0.2 seconds>{patch}<1.6 seconds>{patch}<|vision_end|>\n"
        f"Clip 2: <|vision_start|><0.5 seconds>{patch}<|vision_end|>\n"
        "Order?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_uneven_presentation_times_reach_the_prompt_unchanged(folder):
    processor = load_processor(folder)
    ids = encode(processor, Prompt("<video>?", (grey_clip([1.0, 1.4, 7.5, 9.7]),))).input_ids
    text = processor.tokenizer.decode(ids)
    assert "<1.2 seconds>" in text and "<8.6 seconds>" in text


def test_a_video_of_twice_the_length_has_twice_the_patches_and_video_tokens(folder):
    processor = load_processor(folder)
    short, long = (encode(processor, Prompt("<video>?", (grey_clip(np.arange(n)),))) for n in (4, 8))
    assert long.pixel_values_videos.shape[0] == 2 * short.pixel_values_videos.shape[0]
    assert (short.mm_token_type_ids == 2).sum() == 2 and (long.mm_token_type_ids == 2).sum() == 4


def test_every_video_marker_becomes_a_video_block():
    blocks = chat_messages("a <video> b <video>")[1]["content"]
    assert [block["type"] for block in blocks] == ["text", "video", "text", "video"]


def test_a_prompt_with_fewer_clips_than_markers_raises():
    with pytest.raises(PolicyError, match="one <video> marker a clip"):
        Prompt("<video> and <video>", (grey_clip([0, 1]),))


def test_a_reply_does_not_depend_on_the_other_prompts_of_the_batch(folder):
    policy = load_policy(folder, max_new_tokens=6)
    prompts = [Prompt("<video>?", (grey_clip(np.arange(n)),)) for n in (2, 6)]
    together = policy.respond(prompts)
    assert together == [policy.respond([prompt])[0] for prompt in prompts]


def test_a_reply_never_contains_a_vision_token(folder):
    model, processor = load_model(folder, "float32"), load_processor(folder)
    suppressed = vision_token_ids(model)
    model.lm_head.weight.data[suppressed] += 10.0 * model.lm_head.weight.data.sign()[suppressed]
    (reply,) = QwenPolicy(model, processor, 6).respond([Prompt("<video>?", (grey_clip([0, 1]),))])
    assert not any(token in reply for token in processor.tokenizer.convert_ids_to_tokens(suppressed))


def test_writing_the_tiny_random_policy_twice_gives_the_same_bytes(folder, tmp_path):
    again = tiny_policy.write_tiny(tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_the_tiny_random_policy_spells_numbers_digit_by_digit(folder):
    tokenizer = load_processor(folder).tokenizer
    assert [tokenizer.decode(i) for i in tokenizer("12.5-304").input_ids] == ["1", "2", ".", "5", "-", "3", "0", "4"]


def test_a_model_of_another_family_raises_one_sentence(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=32, patch_size=16)
    text = LlamaConfig(**sizes, vocab_size=64, num_key_value_heads=2)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=5)
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(PolicyError, match="is a LlavaForConditionalGeneration, which has other parts than a Qwen-VL"):
        load_model(tmp_path)


def test_an_unknown_model_raises_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (load_model, load_processor):
        with pytest.raises(PolicyError, match="no model can be loaded from 'no/such-model'") as caught:
            load("no/such-model")
        assert "\n" not in str(caught.value)


def test_a_policy_answers_in_one_precision_whatever_its_weights_are_stored_in(folder, tmp_path):
    """Before training a checkpoint may be stored in bfloat16, and after it in float32."""
    load_model(folder, "bfloat16").save_pretrained(tmp_path)
    load_processor(folder).save_pretrained(tmp_path)
    before, after = load_policy(tmp_path, 6), load_policy(folder, 6)
    assert {str(policy.model.dtype) for policy in (before, after)} == {f"torch.{answer_settings()['dtype']}"}
