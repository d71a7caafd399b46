"""The plan of a run follows from its parameters, for every recipe of the repository."""

import dataclasses

import pytest

from tests.support import ROOT
from videossr.errors import ConfigError
from videossr.plan import plan_run
from videossr.plan.memory import peak_bytes
from videossr.plan.tables import hours_table, plan_tables
from videossr.recipe import load_recipe
from videossr.train.params import LoraParams

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def paper():
    """The recipe of the paper's run, and its plan."""
    recipe = load_recipe(ROOT / "recipes/videossr-8b.yaml")
    return recipe, plan_run(recipe.frames, recipe.pretext, recipe.train)


def test_the_paper_run_has_the_tokens_that_were_counted_with_its_tokenizer(paper):
    _, plan = paper
    assert plan.visual_tokens == 24 * 8 * 8  # 48 frames of 256 x 256 in pairs, cells of 32 pixels
    assert 1_750 < plan.visual_tokens + plan.text_tokens < 2_000
    assert plan.trainable_parameters == plan.architecture.parameters


def test_the_shared_prefix_saves_a_factor_above_seven_in_the_paper_run(paper):
    _, plan = paper
    upper_bound = 8 * (plan.longest_tokens + 12) / (plan.longest_tokens + 8 * 12)
    assert 7 < plan.repeated_operations.total / plan.shared_operations.total <= upper_bound * 1.02


def test_hours_follow_from_operations_throughput_and_gpus(paper):
    _, plan = paper
    grpo, gpus = plan.train.grpo, plan.train.processes
    total = grpo.steps * 64 * plan.shared_operations.total
    assert plan.hours_at_tflops(400.0) == pytest.approx(total / 400e12 / gpus / 3600)
    assert plan.hours_at_throughput(2.0) == pytest.approx(grpo.steps * 64 / 2 / gpus / 3600)


def test_operations_and_memory_follow_the_parameters_of_the_run(paper):
    recipe, plan = paper

    def plan_with(**changes):
        return plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, **changes))

    frozen, lora = plan_with(freeze_vision=True), plan_with(lora=LoraParams(rank=8))
    assert plan.trainable_parameters - frozen.trainable_parameters == plan.architecture.vision.parameters
    assert frozen.shared_operations.loss < plan.shared_operations.loss
    assert frozen.shared_operations.rollout == plan.shared_operations.rollout
    assert frozen.shared_operations.reference < plan.shared_operations.reference
    assert lora.memory["reference"] == 0 < plan.memory["reference"]
    assert lora.memory["optimizer"] < plan.memory["optimizer"] / 20
    assert plan.memory["activations"] < plan.memory["activations, not checkpointed"] / 3
    repeated = plan_with(shared_prefix="off")
    assert repeated.step_operations > 7 * plan.step_operations
    assert repeated.memory["activations"] > 3 * plan.memory["activations"]


def test_fewer_prompts_per_rollout_need_a_smaller_cache(paper):
    recipe, plan = paper
    grpo = dataclasses.replace(recipe.train.grpo, prompts_per_rollout=2)
    limited = plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, grpo=grpo))
    share = grpo.prompts_per_step // recipe.train.processes
    assert limited.memory["rollout cache"] * share == plan.memory["rollout cache"] * min(2, share)
    assert peak_bytes(limited.memory, True) <= peak_bytes(plan.memory, True)


def test_fsdp_divides_persistent_memory_and_keeps_trainable_weights_in_float32(paper, tmp_path):
    recipe, _ = paper
    config = tmp_path / "fsdp.yaml"
    config.write_text("distributed_type: FSDP")
    one_gpu = dataclasses.replace(recipe.train, processes=1, accelerate=None)
    eight_gpus = dataclasses.replace(recipe.train, processes=8, accelerate=str(config))
    one, eight = (plan_run(recipe.frames, recipe.pretext, train).memory for train in (one_gpu, eight_gpus))
    for kind in ("weights", "gradients", "optimizer"):
        assert eight[kind] == one[kind] / 8
    assert eight["reference"] == 2 * one["reference"] / 8, "FSDP keeps the reference in float32, one GPU in bfloat16"
    assert eight["copies for autocast"] == 0 < one["copies for autocast"]
    grpo = dataclasses.replace(one_gpu.grpo, weights="bfloat16")
    bfloat16 = plan_run(recipe.frames, recipe.pretext, dataclasses.replace(one_gpu, grpo=grpo)).memory
    assert bfloat16["weights"] == one["weights"] / 2 == one["reference"]


def test_data_parallel_training_holds_gradients_a_second_time_in_buckets(paper):
    recipe, _ = paper
    one, eight = (
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, processes=n, accelerate=None)).memory
        for n in (1, 8)
    )
    assert eight["gradients"] == 2 * one["gradients"]
    assert eight["weights"] == one["weights"]


def test_a_missing_accelerate_file_raises(paper):
    recipe, _ = paper
    with pytest.raises(ConfigError, match="there is none at gone.yaml"):
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, processes=8, accelerate="gone.yaml"))


def test_a_prompt_longer_than_the_limit_raises(paper):
    recipe, _ = paper
    grpo = dataclasses.replace(recipe.train.grpo, max_prompt_tokens=1000)
    with pytest.raises(ConfigError, match="max_prompt_tokens is 1000"):
        plan_run(recipe.frames, recipe.pretext, dataclasses.replace(recipe.train, grpo=grpo))


def test_a_completion_longer_than_the_limit_raises(paper):
    recipe, _ = paper
    with pytest.raises(ConfigError, match="completions must be 1..2048"):
        plan_run(recipe.frames, recipe.pretext, recipe.train, completion_tokens=5000)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.name)
def test_every_run_in_the_repository_can_be_planned(path):
    recipe = load_recipe(path)
    plan = plan_run(recipe.frames, recipe.pretext, recipe.train)
    assert plan.repeated_operations.total > plan.shared_operations.total > 0
    assert all(table.row_count for table in [*plan_tables(plan), hours_table(plan, [100.0], {"gpu_8b": 2.0})])


@pytest.mark.parametrize(
    ("name", "card_gb"), [("videossr-8b", 141), ("videossr-8b-one-gpu", 141), ("qwen3-vl-2b-lora-24gb", 24)]
)
def test_every_recipe_fits_the_card_that_it_is_written_for(name, card_gb):
    recipe = load_recipe(ROOT / f"recipes/{name}.yaml")
    plan = plan_run(recipe.frames, recipe.pretext, recipe.train)
    assert peak_bytes(plan.memory, recipe.train.grpo.gradient_checkpointing) < 0.94e9 * card_gb
