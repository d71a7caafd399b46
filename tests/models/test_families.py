"""Every family of models shares a prefix exactly and trains, or is named as one that cannot share it."""

import logging
from dataclasses import replace

import pytest
import torch

from tests.support import families, tiny_policy, tiny_training
from videossr.models.attention import unshareable_layer, use_branched_attention
from videossr.models.checkpoint import load_model, load_policy, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, generate_branches, generate_rows
from videossr.models.model_inputs import encode_vision, prompt_positions
from videossr.models.policy import render_prompt
from videossr.train.params import LoraParams
from videossr.train.prefix import Group, repeated_logps, shared_logps

SHARING = ("qwen3_vl", "qwen2_5_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
QUICK = (("qwen3_5", "full"), ("qwen2_5_vl", "lora"))
# transformers computes the delta rule of linear attention in float32, whatever the dtype of the model.
NATS = {"qwen3_5": 1e-6, "qwen3_5_moe": 1e-6}
SAMPLED = Decoding(max_new_tokens=8, temperature=0.9, end_ids=(), suppressed_ids=(), pad_id=0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of checkpoints by family, each written when it is first asked for."""
    written = {}

    def folder(name):
        if name not in written:
            written[name] = families.write_family(name, tmp_path_factory.mktemp(name))
        return written[name]

    return folder


def render(sample):
    return render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())


def prompts(folder):
    """A prompt of one clip and one of eight, of different lengths."""
    processor = load_processor(folder)
    return [encode(processor, render(tiny_policy.samples(4)[i])) for i in (0, 3)]


def load(folder, dtype):
    model = load_model(folder, dtype)
    if hasattr(model.config.get_text_config(), "num_experts"):
        model.set_experts_implementation("eager")  # the grouped kernels have no float64
    return model


def groups_of(folder, *lengths):
    generator = torch.Generator().manual_seed(0)
    return [
        Group(prompt, [torch.randint(7, 300, (n,), generator=generator) for n in branch_lengths])
        for prompt, branch_lengths in zip(prompts(folder), lengths, strict=True)
    ]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize("family", SHARING)
def test_the_shared_prefix_equals_repeated_prompts_in_value_and_gradient(checkpoints, family, checkpointing):
    """Two groups of uneven branches, one with fewer."""
    folder = checkpoints(family)
    model = load(folder, "float64").train()
    use_branched_attention(model)
    assert unshareable_layer(model) is None
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    results = []
    for logps in (shared_logps, repeated_logps):
        model.zero_grad()
        values, _ = logps(model, groups_of(folder, (3, 9, 1, 70), (5, 2)), 0)
        (values * torch.linspace(0.1, 1, values.numel()).view_as(values)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((values.detach(), gradient))
    (shared, shared_gradient), (repeated, repeated_gradient) = results
    torch.testing.assert_close(shared, repeated, rtol=0, atol=NATS.get(family, 1e-9))
    assert (shared_gradient - repeated_gradient).norm() <= 1e-6 * repeated_gradient.norm()


@pytest.mark.parametrize("family", SHARING)
def test_branches_have_the_completions_of_repeated_prompts(checkpoints, family):
    model, encoded = load(checkpoints(family), "float32"), prompts(checkpoints(family))
    use_branched_attention(model)
    repeated = generate_rows(model, encoded, 3, SAMPLED, [1, 2])
    assert torch.equal(generate_branches(model, encoded, 3, SAMPLED, [1, 2]), repeated)
    assert torch.equal(generate_branches(model, encode_vision(model, encoded), 3, SAMPLED, [1, 2]), repeated)


@pytest.mark.parametrize("family", ["qwen3_5", "qwen2_5_vl_windowed"])
def test_a_packed_row_without_a_branched_form_of_the_layer_would_be_wrong(checkpoints, family, monkeypatch):
    """What the check of the layers guards against: a mask alone does not separate the branches."""
    folder = checkpoints(family)
    model = load(folder, "float64")
    monkeypatch.setattr("videossr.train.prefix.has_recurrent_layers", lambda model: False)
    groups = groups_of(folder, (3, 9, 1), (5, 2, 4))
    shared, repeated = (logps(model, groups, 0)[0] for logps in (shared_logps, repeated_logps))
    assert (shared - repeated).abs().max() > 0.01


def test_a_sliding_window_turns_the_shared_prefix_off_in_one_sentence(checkpoints, tmp_path, caplog):
    folder = checkpoints("qwen2_5_vl_windowed")
    assert unshareable_layer(load_model(folder)) == "Qwen2_5_VLAttention with a sliding window"
    with caplog.at_level(logging.WARNING, "videossr"):
        params = tiny_training.changed(folder, {"steps": 1})
        tiny_training.run(tmp_path / "on", params, tiny_policy.samples(8))
    assert "cannot share a prompt through Qwen2_5_VLAttention with a sliding window" in caplog.text
    tiny_training.run(tmp_path / "off", replace(params, shared_prefix="off"), tiny_policy.samples(8))
    assert tiny_training.same_weights(tmp_path / "on" / "policy", tmp_path / "off" / "policy", tolerance=0)
    assert len(load_policy(tmp_path / "on" / "policy", 4).respond([render(tiny_policy.samples(1)[0])])) == 1


def test_an_unknown_mixer_of_tokens_is_named(checkpoints):
    model = load_model(checkpoints("qwen3_vl"))
    model.model.language_model.layers[1].add_module("short_conv", torch.nn.Conv1d(4, 4, 3))
    assert unshareable_layer(model) == "Conv1d"


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        pytest.param(family, lora, id=f"{family}-{kind}", marks=() if (family, kind) in QUICK else pytest.mark.slow)
        for family in SHARING[1:]
        for kind, lora in (("full", None), ("lora", LoraParams(rank=4)))
    ],
)
def test_training_verifies_the_shared_prefix_and_writes_a_policy_that_answers(checkpoints, tmp_path, family, lora):
    params = tiny_training.changed(
        checkpoints(family), {"kl_coefficient": 1e-3, "steps": 1}, lora=lora, shared_prefix="verify"
    )
    report = tiny_training.run(tmp_path, params, tiny_policy.samples(8))
    assert report.vision_sensitivity_nats > 0 and len(report.grpo) == 1
    assert len(load_policy(tmp_path / "policy", 4).respond([render(tiny_policy.samples(1)[0])])) == 1


def test_adapters_on_a_mixture_of_experts_name_the_layers_that_they_do_not_reach(checkpoints, tmp_path, caplog):
    params = tiny_training.changed(checkpoints("qwen3_vl_moe"), {"steps": 1}, lora=LoraParams(rank=4))
    with caplog.at_level(logging.WARNING, "videossr"):
        tiny_training.run(tmp_path, params, tiny_policy.samples(8))
    assert "no linear layer is called gate_proj, up_proj, down_proj: adapters train q_proj" in caplog.text


def test_qwen2_5_vl_scales_frames_to_the_nearest_sides_of_its_grid(checkpoints):
    one_clip, eight_clips = prompts(checkpoints("qwen2_5_vl"))
    assert one_clip.video_grid_thw.tolist() == [[4, 4, 4]], "64 pixels become 56: two cells of 28, in patches of 14"
    assert eight_clips.video_grid_thw.tolist() == [[1, 4, 4]] * 8
    assert (one_clip.mm_token_type_ids == 2).sum() == 16


def test_position_ids_of_qwen2_5_vl_follow_presentation_times(checkpoints):
    folder = checkpoints("qwen2_5_vl")
    prompt, _ = prompts(folder)
    # A temporal patch holds two frames. Every second stored frame is shown, at 3 stored frames per second: 4/3 s.
    step = 2 * (tiny_policy.clips()["video0"].times[2] - tiny_policy.clips()["video0"].times[0])
    assert prompt.second_per_grid_ts.tolist() == pytest.approx([step])
    positions = prompt_positions(load_model(folder, "float32"), prompt)[1][prompt.mm_token_type_ids == 2]
    temporal = positions.view(4, 4)[:, 0] - positions[0]
    assert temporal.tolist() == [int(i * 2 * step) for i in range(4)], "two positions per second"
