"""Memory in closed form equals what torch saves, and follows from the run's parameters."""

import numpy as np
import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from tests.support import tiny_policy
from videossr.clip import Clip
from videossr.models.attention import use_branched_attention
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, generate_branches, generate_rows
from videossr.models.model_inputs import encode_vision
from videossr.models.policy import Prompt, render_prompt
from videossr.models.tiny_random import write_tiny_random
from videossr.models.tiny_random_params import TinyRandomParams
from videossr.plan.architecture import meta_model, read_architecture
from videossr.plan.costs import prompt_size
from videossr.plan.memory import (
    Precision,
    activation_bytes,
    cache_bytes,
    head_tile_bytes,
    optimizer_state_bytes,
    rollout_cache_bytes,
    row_bytes,
    text_layer_bytes,
    vision_feature_bytes,
    vision_layer_bytes,
)
from videossr.train.params import GrpoParams, TrainParams
from videossr.train.prefix import Group, shared_logps


@pytest.mark.parametrize(
    "precision", [Precision(2, 2, 2), Precision(4, 4, 2, autocast=True)], ids=["bfloat16", "autocast"]
)
@pytest.mark.parametrize("part", ["text", "vision"])
def test_a_layer_saves_the_bytes_that_torch_saves(part, precision, tmp_path):
    dtype = torch.float32 if precision.autocast else torch.bfloat16
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy")).to(dtype)
    architecture, tokens = read_architecture(model, "tiny"), 512
    if part == "text":
        tower, width, shape = model.model.language_model, architecture.text.width, (1, tokens)
        position_ids, layer = torch.arange(tokens).expand(3, 1, -1), tower.layers[0]
        arguments = {"attention_mask": None}
        expected = text_layer_bytes(architecture.text, precision)
    else:
        tower, width, shape = model.model.visual, architecture.vision.width, (tokens,)
        position_ids, layer = torch.zeros(tokens, 2, dtype=torch.long), tower.blocks[0]
        arguments = {"cu_seqlens": torch.tensor([0, tokens // 2, tokens])}
        expected = vision_layer_bytes(architecture.vision, precision)
    hidden = torch.randn(*shape, width, dtype=dtype, requires_grad=True)
    rotary = (tower.rotary_pos_emb if part == "vision" else tower.rotary_emb)(hidden, position_ids)
    saved = {}

    def record(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision.autocast), hooks:
        layer(hidden * 1, position_embeddings=rotary, **arguments)
    # Activations alone have a dimension of tokens; weights and their casts do not. Layers share the rotary embedding.
    shared = {tensor.untyped_storage().data_ptr() for tensor in rotary}
    activations = [
        tensor for place, tensor in saved.items() if place not in shared and {tokens, tokens // 2} & set(tensor.shape)
    ]
    saved_bytes = sum(tensor.untyped_storage().nbytes() for tensor in activations)
    assert expected == pytest.approx(saved_bytes / tokens, rel=0.05)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_planned_peak_of_a_loss_is_within_15_percent_of_the_measured_one(tmp_path, checkpointing):
    sizes = TinyRandomParams(text_width=256, text_layers=6, vision_width=192, vision_layers=6)
    write_tiny_random(sizes, ["When?"], 0, tmp_path / "policy")
    model = load_model(tmp_path / "policy", "float32").train()
    architecture = read_architecture(model, "tiny")
    use_branched_attention(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    if checkpointing:
        model.gradient_checkpointing_enable()
    frames = np.random.default_rng(0).integers(0, 256, (48, 128, 128, 3), dtype=np.uint8)
    prompt = Prompt("<video>When?", (Clip(frames, np.arange(48) / 2),))
    group = Group(encode(load_processor(tmp_path / "policy"), prompt), [torch.arange(10, 22)] * 8)

    def loss():
        shared_logps(model, [group], 0)[0].sum().backward()

    loss()
    model.zero_grad()
    with torch.profiler.profile(profile_memory=True) as profile:
        loss()
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    measured = max(np.cumsum(changes))
    precision, tokens = Precision(4, 4, 4), len(group.prompt) + 8 * 12
    size = prompt_size(architecture.vision, prompt)
    row = row_bytes(architecture, size, tokens, precision, trains_vision=True)
    # On a CPU, TRL's output layer computes the scores of all tokens, on a GPU those of the completions.
    planned = activation_bytes(row, 1, head_tile_bytes(tokens, precision), checkpointing=checkpointing)
    assert planned == pytest.approx(measured, rel=0.15)


def test_a_step_keeps_vision_features_where_the_tower_is_frozen(tmp_path):
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy"), "float32")
    processor, sample = load_processor(tmp_path / "policy"), tiny_policy.samples(1)[0]
    prompt = render_prompt(sample, tiny_policy.TASKS[sample.task], tiny_policy.clips())
    features = encode_vision(model, [encode(processor, prompt)] * 3)
    kept = sum(clip.nbytes for p in features for part in (p.vision.clips, *p.vision.deepstack) for clip in part)
    architecture = read_architecture(model, "tiny")
    size = prompt_size(architecture.vision, prompt)
    assert vision_feature_bytes(architecture, size, 3, Precision(4, 4, 4)) == kept


@pytest.mark.parametrize("shared_prefix", ["on", "off"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_rollout_cache_is_as_large_as_planned(tmp_path, shared_prefix, bf16):
    """Counted where the decoding step reads it: the cache's argument of the model's last forward pass."""
    folder = tiny_policy.write_tiny(tmp_path / "policy")
    model, sample = load_model(folder, "float32"), tiny_policy.samples(1)[0]
    clips = tuple(tiny_policy.TASKS[sample.task].render(sample, tiny_policy.clips()))
    prompt = encode(load_processor(folder), Prompt(sample.question, clips))
    caches = []
    model.register_forward_pre_hook(lambda _, __, given: caches.append(given["past_key_values"]), with_kwargs=True)
    decoding = Decoding(max_new_tokens=4, temperature=0, end_ids=(), suppressed_ids=(), pad_id=0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        (generate_branches if shared_prefix == "on" else generate_rows)(model, [prompt] * 2, 4, decoding)
    train = TrainParams(shared_prefix=shared_prefix, grpo=GrpoParams(group_size=4, bf16=bf16))
    text = read_architecture(model, "tiny").text
    cached_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in caches[-1].layers)
    assert cached_bytes == rollout_cache_bytes(text, 2, len(prompt), train, 3), "the last token is chosen, not cached"


def test_the_cache_holds_keys_and_values_of_every_layer_and_head():
    text = read_architecture(meta_model("Qwen/Qwen3-VL-8B-Instruct", tiny_policy.TINY, []), "x").text
    assert cache_bytes(text, 1000, 2) == 1000 * 2 * 36 * 8 * 128 * 2


def test_an_optimizer_holds_two_states_per_weight_in_its_own_precision():
    assert optimizer_state_bytes("adamw_torch_fused", 1000, 4) == 8000
    assert optimizer_state_bytes("adamw_torch_fused", 1000, 2) == 4000
    assert optimizer_state_bytes("paged_adamw_32bit", 1000, 2) == 8000
    assert optimizer_state_bytes("paged_adamw_8bit", 1024, 4) == pytest.approx(2048, rel=0.02)
    assert optimizer_state_bytes("paged_adamw_8bit", 1024, 4, embedding=1024) == 8192


def test_bfloat16_loses_a_step_on_a_weight_512_times_as_large():
    weight, step = torch.tensor(512 * 1e-6, dtype=torch.bfloat16), 1e-6
    assert weight + step == weight
    assert weight / 4 + step != weight / 4
