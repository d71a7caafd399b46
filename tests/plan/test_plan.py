"""A plan is arithmetic over a model built without weights: exact in counts, and torch's own counters agree."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from tests.support import ROOT, tiny_policy
from videossr.cli import app
from videossr.errors import ConfigError, PolicyError
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.policy import Prompt
from videossr.plan import plan_run
from videossr.plan.architecture import known, lora_parameters, measure, meta_model
from videossr.plan.costs import Grid, Learning, PromptSize, group_work, prompt_size, text_forward, vision_forward
from videossr.plan.memory import (
    Precision,
    cache_bytes,
    optimizer_state_bytes,
    peak,
    text_layer_bytes,
    vision_layer_bytes,
)
from videossr.plan.table import hours, measured_groups_per_second, tables
from videossr.recipe import load_recipe
from videossr.train.attention import attend_by_branches
from videossr.train.params import LoraParams
from videossr.train.prefix import Group, pack

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
BRANCHES, ANSWER = 4, 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))
    model = load_model(folder, "float32")
    model.set_attn_implementation("eager")  # its operations torch counts
    return model, load_processor(folder)


@pytest.fixture(scope="module")
def prompts(tiny):
    """Prompts of every task, each encoded."""
    drawn = [tiny_policy.TASKS[s.task].render(s, tiny_policy.clips()) for s in tiny_policy.samples(4)]
    made = [Prompt(s.question, tuple(clips)) for s, clips in zip(tiny_policy.samples(4), drawn, strict=True)]
    return [(prompt, encode(tiny[1], prompt)) for prompt in made]


def exact_size(architecture, prompt, encoded):
    size = prompt_size(architecture.vision, prompt)
    return dataclasses.replace(size, text_tokens=len(encoded) - size.visual_tokens)


def operations(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", known())
def test_every_shipped_architecture_has_the_size_its_page_publishes(name):
    built = measure(meta_model(name, tiny_policy.TINY, []), name)
    assert built.parameters / 1e9 == pytest.approx(known()[name]["published_billions"], abs=0.005)
    assert built.text.linear + built.text.head < built.text.parameters + built.text.head


def test_parameters_are_counted_as_the_built_model_counts_them(tiny):
    model, _ = tiny
    architecture = measure(model, "tiny")
    assert architecture.parameters == sum(p.numel() for p in model.parameters())
    assert architecture.vision.parameters == sum(p.numel() for p in model.model.visual.parameters())


def test_a_model_without_weights_has_the_sizes_of_the_model_with_weights(tmp_path):
    folder = tiny_policy.write_tiny(tmp_path / "policy")
    assert measure(meta_model(str(folder), tiny_policy.TINY, []), "x") == measure(load_model(folder), "x")


def test_adapters_are_counted_as_peft_builds_them(tmp_path):
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy"))
    lora = LoraParams(rank=4)
    counted = lora_parameters(model, lora)
    adapted = get_peft_model(model, LoraConfig(r=lora.rank, target_modules=list(lora.targets)))
    assert counted == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_visual_tokens_are_exact_and_text_tokens_near(tiny, prompts):
    vision = measure(tiny[0], "tiny").vision
    for prompt, encoded in prompts:
        size = prompt_size(vision, prompt)
        grids = [Grid(*grid) for grid in encoded.video_grid_thw.tolist()]
        assert list(size.clips) == grids
        assert size.visual_tokens == (encoded.mm_token_type_ids == 2).sum().item()
        assert size.tokens == pytest.approx(len(encoded), rel=0.08)


def test_the_vision_tower_costs_what_torch_counts(tiny, prompts):
    model, _ = tiny
    vision = measure(model, "tiny").vision
    for prompt, encoded in prompts:
        pixels = encoded.pixel_values_videos, encoded.video_grid_thw
        counted = operations(lambda pixels=pixels: model.model.get_video_features(*pixels))
        assert vision_forward(vision, prompt_size(vision, prompt).clips) == counted


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_loss_costs_what_torch_counts(tiny, prompts, checkpointing):
    model, _ = tiny
    prompt, encoded = prompts[0]
    architecture = measure(model, "tiny")
    attend_by_branches(model)
    packed = pack(model, [Group(encoded, [torch.arange(ANSWER) + 20] * BRANCHES)], 0)

    def logits():
        return model(
            input_ids=packed.input_ids,
            position_ids=packed.positions,
            attention_mask=packed.mask,
            stem=packed.stem,
            pixel_values_videos=encoded.pixel_values_videos,
            video_grid_thw=encoded.video_grid_thw,
            logits_to_keep=BRANCHES * ANSWER,
            use_cache=False,
        ).logits

    size = exact_size(architecture, prompt, encoded)
    learning = Learning(vision=True, adapter_weights=0, recomputes=checkpointing)
    work = group_work(architecture, size, ANSWER, BRANCHES, learning, reference=True, shared=True)
    again = 2 * architecture.text.head * BRANCHES * ANSWER  # TRL's output layer, not used here, computes scores twice
    model.train()
    model.gradient_checkpointing_enable() if checkpointing else model.gradient_checkpointing_disable()
    with sdpa_kernel(SDPBackend.MATH):  # torch counts no operations of the CPU's fused attention
        assert work.reference == pytest.approx(operations(logits), rel=0.03)
        assert work.loss - again == pytest.approx(operations(lambda: logits().sum().backward()), rel=0.03)
    model.gradient_checkpointing_disable()
    model.set_attn_implementation("eager")


def test_the_shared_prefix_saves_what_the_token_counts_promise(tiny):
    """Far from attention's squares the ratio is G(P + C) / (P + GC)."""
    architecture = measure(tiny[0], "tiny")
    size = PromptSize((), 0, 100)
    learning = Learning(vision=False, adapter_weights=0, recomputes=False)
    shared, repeated = (
        group_work(architecture, size, 10, 8, learning, reference=True, shared=shared) for shared in (True, False)
    )
    linear = architecture.text.linear
    attention = 4 * architecture.text.layers * architecture.text.heads * architecture.text.head_width
    head = 2 * architecture.text.head * 80
    assert shared.reference == 2 * linear * 180 + attention * (100**2 + 80 * 180) + head
    assert repeated.reference == 8 * (2 * linear * 110 + attention * 110**2) + head


def test_frozen_weights_save_half_of_their_backward_pass(tiny):
    architecture = measure(tiny[0], "tiny")
    size = PromptSize((), 0, 100)

    def loss(adapters):
        learning = Learning(vision=False, adapter_weights=adapters, recomputes=False)
        return group_work(architecture, size, 10, 8, learning, reference=True, shared=True).loss

    saved = text_forward(architecture, 180, 0, 80) - 2 * 3 * 180  # and one adapter weight, used three times
    assert loss(0) - loss(1) == saved


def test_windows_are_counted_by_what_they_hold():
    architecture = measure(meta_model("Qwen/Qwen2.5-VL-7B-Instruct", tiny_policy.TINY, []), "x").vision
    whole = dataclasses.replace(architecture, full_layers=architecture.layers)
    clip = [Grid(1, 20, 8)]  # windows of 8x8, 8x8 and 4x8 patches
    pairs = 160**2 - (2 * 64**2 + 32**2)
    less = 4 * architecture.width * (architecture.layers - architecture.full_layers) * pairs
    assert vision_forward(whole, clip) - vision_forward(architecture, clip) == less


@pytest.mark.parametrize("held", [Precision(2, 2, 2), Precision(4, 4, 2, mixed=True)], ids=["bfloat16", "autocast"])
@pytest.mark.parametrize("part", ["text", "vision"])
def test_a_layer_keeps_the_bytes_that_torch_saves(part, held, tmp_path):
    stream = torch.float32 if held.mixed else torch.bfloat16
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy")).to(stream)
    architecture, tokens = measure(model, "tiny"), 512
    if part == "text":
        tower, width, shape = model.model.language_model, architecture.text.width, (1, tokens)
        where, layer, more = torch.arange(tokens).expand(3, 1, -1), tower.layers[0], {"attention_mask": None}
        expected = text_layer_bytes(architecture.text, held)
    else:
        tower, width, shape = model.model.visual, architecture.vision.width, (tokens,)
        where, layer = torch.zeros(tokens, 2, dtype=torch.long), tower.blocks[0]
        more = {"cu_seqlens": torch.tensor([0, tokens // 2, tokens])}
        expected = vision_layer_bytes(architecture.vision, held)
    values = torch.randn(*shape, width, dtype=stream, requires_grad=True)
    positions = (tower.rotary_pos_emb if part == "vision" else tower.rotary_emb)(values, where)
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16, enabled=held.mixed), hooks:
        layer(values * 1, position_embeddings=positions, **more)
    # Weights, their copies and the positions serve every layer; the rest is the layer's own.
    lasting = {tensor.untyped_storage().data_ptr() for tensor in positions}
    own = [t for place, t in saved.items() if place not in lasting and {tokens, tokens // 2} & set(t.shape)]
    assert expected == pytest.approx(sum(t.untyped_storage().nbytes() for t in own) / tokens, rel=0.05)


def test_autocast_keeps_keys_and_values_in_float32(tmp_path):
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy"), "float32")
    text, held = measure(model, "tiny").text, Precision(4, 4, 2, mixed=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache = model(input_ids=torch.arange(10)[None], use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert kept == cache_bytes(text, 10, held)


def test_the_cache_and_the_optimizer_have_closed_forms():
    text = measure(meta_model("Qwen/Qwen3-VL-8B-Instruct", tiny_policy.TINY, []), "x").text
    assert cache_bytes(text, 1000, Precision(2, 2, 2)) == 1000 * 2 * 36 * 8 * 128 * 2
    assert optimizer_state_bytes("adamw_torch_fused", 1000, 4) == 8000
    assert optimizer_state_bytes("adamw_torch_fused", 1000, 2) == 4000
    assert optimizer_state_bytes("paged_adamw_32bit", 1000, 2) == 8000
    assert optimizer_state_bytes("paged_adamw_8bit", 1024, 4) == pytest.approx(2048, rel=0.02)
    assert optimizer_state_bytes("paged_adamw_8bit", 1024, 4, embedded=1024) == 8192


@pytest.fixture(scope="module")
def paper():
    recipe = load_recipe(ROOT / "recipes/videossr-8b.yaml")
    return recipe, plan_run(recipe.frames, recipe.pretext, recipe.train)


def test_the_paper_run_has_the_tokens_that_were_counted_with_its_tokenizer(paper):
    _, plan = paper
    assert plan.visual_tokens == 24 * 8 * 8  # 48 frames of 256 x 256 in pairs, patches of 32 pixels
    assert 1_750 < plan.visual_tokens + plan.text_tokens < 2_000
    assert plan.trainable == plan.architecture.parameters


def test_the_shared_prefix_is_worth_more_than_seven_in_the_paper_run(paper):
    _, plan = paper
    bound = 8 * (plan.longest_tokens + 12) / (plan.longest_tokens + 8 * 12)
    assert 7 < plan.repeated.total / plan.shared.total <= bound * 1.02


def test_hours_follow_from_operations_throughput_and_gpus(paper):
    _, plan = paper
    total = plan.train.grpo.steps * 64 * plan.shared.total
    assert plan.hours(400.0) == pytest.approx(total / 400e12 / plan.train.processes / 3600)
    assert plan.hours_at(2.0) == pytest.approx(plan.train.grpo.steps * 64 / 2 / plan.train.processes / 3600)


def test_what_learns_and_what_is_held_follow_the_parameters(paper):
    recipe, plan = paper

    def planned(**changes):
        return plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, **changes))

    frozen, lora = planned(freeze_vision=True), planned(lora=LoraParams(rank=8))
    assert plan.trainable - frozen.trainable == plan.architecture.vision.parameters
    assert frozen.shared.loss < plan.shared.loss
    assert frozen.shared.rollout == plan.shared.rollout
    assert frozen.shared.reference < plan.shared.reference
    assert lora.memory["reference"] == 0 < plan.memory["reference"]
    assert lora.memory["optimizer"] < plan.memory["optimizer"] / 20
    assert plan.memory["activations"] < plan.memory["activations, not checkpointed"] / 3
    repeated = planned(shared_prefix="off")
    assert repeated.step_operations > 7 * plan.step_operations
    assert repeated.memory["activations"] > 3 * plan.memory["activations"]


def test_fewer_prompts_sampled_at_once_need_less_cache(paper):
    recipe, plan = paper
    grpo = dataclasses.replace(recipe.train.grpo, prompts_per_rollout=2)
    bounded = plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, grpo=grpo))
    at_once = grpo.prompts_per_step // recipe.train.processes
    assert bounded.memory["rollout cache"] * at_once == plan.memory["rollout cache"] * min(2, at_once)
    assert peak(bounded.memory, True) <= peak(plan.memory, True)


def test_sharding_divides_what_lasts_and_keeps_learning_weights_in_float32(paper, tmp_path):
    recipe, _ = paper
    config = tmp_path / "fsdp.yaml"
    config.write_text("distributed_type: FSDP")
    alone = dataclasses.replace(recipe.train, processes=1, accelerate=None)
    eight = dataclasses.replace(recipe.train, processes=8, accelerate=str(config))
    one, many = (plan_run(recipe.frames, recipe.pretext, train).memory for train in (alone, eight))
    for kind in ("weights", "gradients", "optimizer", "reference"):
        assert many[kind] == one[kind] / 8
    assert many["copies for autocast"] == 0 < one["copies for autocast"]
    grpo = dataclasses.replace(alone.grpo, weights="bfloat16")
    small = plan_run(recipe.frames, recipe.pretext, dataclasses.replace(alone, grpo=grpo)).memory
    assert small["weights"] == one["weights"] / 2 == one["reference"]


def test_copies_on_several_gpus_hold_their_gradients_in_buckets_too(paper):
    recipe, _ = paper
    one, many = (
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, processes=n, accelerate=None)).memory
        for n in (1, 8)
    )
    assert many["gradients"] == 2 * one["gradients"]
    assert many["weights"] == one["weights"]


def test_a_step_too_small_for_bfloat16_is_what_the_plan_says_it_is():
    weight, rate = torch.tensor(512 * 1e-6, dtype=torch.bfloat16), 1e-6
    assert weight + rate == weight
    assert weight / 4 + rate != weight / 4


def test_an_accelerate_file_that_is_not_there_is_told(paper):
    recipe, _ = paper
    with pytest.raises(ConfigError, match="there is none at gone.yaml"):
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, processes=8, accelerate="gone.yaml"))


def test_a_prompt_beyond_the_limit_is_told_before_training(paper):
    recipe, _ = paper
    grpo = dataclasses.replace(recipe.train.grpo, max_prompt_tokens=1000)
    with pytest.raises(ConfigError, match="max_prompt_tokens is 1000"):
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, grpo=grpo))


def test_a_completion_beyond_the_limit_is_refused(paper):
    recipe, _ = paper
    with pytest.raises(ConfigError, match="completions must be 1..2048"):
        plan_run(recipe.frames, recipe.pretext, recipe.train, completion_tokens=5000)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(PolicyError, match="no sizes are known of 'some/model'.*Qwen3-VL-8B"):
        meta_model("some/model", tiny_policy.TINY, [])


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.name)
def test_every_run_in_the_repository_can_be_planned(path):
    recipe = load_recipe(path)
    plan = plan_run(recipe.frames, recipe.pretext, recipe.train)
    assert plan.repeated.total > plan.shared.total > 0
    assert all(table.row_count for table in [*tables(plan), hours(plan, [100.0], {"gpu_8b": 2.0})])


def test_a_measured_throughput_comes_from_the_gpu_rows(tmp_path):
    path = tmp_path / "step.json"
    path.write_text(
        '[{"name": "step", "ours": 1, "theirs": 5, "ratio": 5, "unit": "s"},'
        ' {"name": "gpu_8b", "ours": 2.5, "theirs": 0.4, "ratio": 6.2, "unit": "groups/s"}]'
    )
    assert measured_groups_per_second(path) == {"gpu_8b": 2.5}


def test_a_measurement_without_gpu_rows_is_refused(tmp_path):
    path = tmp_path / "step.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no row gpu_"):
        measured_groups_per_second(path)
    with pytest.raises(ConfigError, match="there is no measurement"):
        measured_groups_per_second(tmp_path / "none.json")
    for text in ("no json", '{"name": "gpu_8b"}', '[{"name": "gpu_8b"}]'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is no list of measured rows: give what"):
            measured_groups_per_second(path)


def test_the_command_prints_sizes_memory_operations_and_hours(tmp_path):
    measured = tmp_path / "step.json"
    measured.write_text('[{"name": "gpu_2b", "ours": 2.0, "theirs": 0.3, "ratio": 6.6, "unit": "groups/s"}]')
    recipe = ROOT / "recipes/qwen3-vl-2b-lora-24gb.yaml"
    shown = CliRunner().invoke(app, ["plan", str(recipe), "--tflops", "150", "--measured", str(measured)])
    assert shown.exit_code == 0
    for expected in ("69,730,304", "rollout: keys and values", "prompt repeated", "150 TFLOP/s", "2 groups/s", "24 GB"):
        assert expected in shown.output


@pytest.mark.parametrize(
    ("name", "card_gb"), [("videossr-8b", 141), ("videossr-8b-one-gpu", 141), ("qwen3-vl-2b-lora-24gb", 24)]
)
def test_every_recipe_fits_the_card_it_is_named_for(name, card_gb):
    recipe = load_recipe(ROOT / f"recipes/{name}.yaml")
    plan = plan_run(recipe.frames, recipe.pretext, recipe.train)
    assert peak(plan.memory, recipe.train.grpo.gradient_checkpointing) < 0.94e9 * card_gb
