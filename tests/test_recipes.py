"""params.yaml and every recipe load, and have the parameters that dvc.yaml depends on."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from videossr import config
from videossr.dataset.params import PretextParams
from videossr.errors import ConfigError
from videossr.pretext import TASKS
from videossr.recipe import load_recipe
from videossr.train.params import TrainParams

ROOT = Path(__file__).parents[1]
RUNS = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_of_the_repository_loads(path):
    load_recipe(path)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_has_the_parameters_that_dvc_depends_on(path):
    params = yaml.safe_load(path.read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in {name for stage in stages.values() for name in stage["params"]}:
        value = params
        for key in name.split("."):
            assert key in value, f"{path.name} lacks {name}, and DVC does not run without it"
            value = value[key]


def test_an_unknown_key_raises_and_the_error_suggests_the_right_one(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("bench_fraction", "bench_fractoin"))
    with pytest.raises(ConfigError, match=r"ingest has no parameter 'bench_fractoin' \(did you mean 'bench_fraction'"):
        load_recipe(path)


def test_the_number_of_stored_frames_must_be_a_multiple_of_the_shown_ones(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["frames"]["num_frames"] = params["pretext"]["counting"]["num_frames"] * 3 + 1
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    with pytest.raises(ConfigError, match="frames.num_frames must be a multiple"):
        load_recipe(path)


def test_the_recipe_of_the_paper_has_its_published_parameters():
    run = load_recipe(ROOT / "recipes/videossr-8b.yaml")
    grpo, tasks = run.train.grpo, run.pretext
    assert run.train.policy == "Qwen/Qwen3-VL-8B-Instruct"
    assert (run.frames.num_frames, run.frames.max_pixels, run.frames.min_pixels) == (48, 256 * 256, 128 * 128)
    assert run.frames.bench_max_pixels == 512 * 512
    assert run.frames.span == (0.05, 0.95)
    assert (tasks.train.num_samples, sum(tasks.train.mixture.values())) == (30_000, 30_000)
    assert (tasks.grounding.min_length, tasks.grounding.max_length, tasks.grounding.num_frames) == (8, 16, 48)
    assert tasks.viubench.per_column == 300
    assert (grpo.prompts_per_step, grpo.group_size, grpo.steps) == (64, 8, 469)
    assert (grpo.learning_rate, grpo.kl_coefficient, grpo.entropy_bonus) == (1e-6, 1e-3, 0.0)
    assert (grpo.max_prompt_tokens, grpo.max_completion_tokens) == (8192, 2048)
    assert grpo.bf16 and grpo.gradient_checkpointing and run.train.lora is None and run.train.reward == "smooth"


def test_the_one_gpu_recipe_changes_only_how_the_run_is_computed():
    eight_gpus = load_recipe(ROOT / "recipes/videossr-8b.yaml")
    one_gpu = load_recipe(ROOT / "recipes/videossr-8b-one-gpu.yaml")
    computation = {"prompts_per_rollout": None, "prompts_per_forward": 1, "optimizer": "adamw_torch_fused"}
    first, second = (
        replace(recipe.train, processes=1, accelerate=None, grpo=replace(recipe.train.grpo, **computation))
        for recipe in (eight_gpus, one_gpu)
    )
    assert first == second
    assert (eight_gpus.frames, eight_gpus.pretext) == (one_gpu.frames, one_gpu.pretext)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes/accelerate").glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_reads_every_configuration(path):
    assert load_config_from_file(str(path)).num_processes > 1


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_run_has_as_many_processes_as_its_accelerate_file(path):
    train = load_recipe(path).train
    if train.accelerate:
        assert load_config_from_file(str(ROOT / train.accelerate)).num_processes == train.processes


def test_the_parameters_shown_in_the_training_docs_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        params = config.build(TrainParams, yaml.safe_load(block), "train")
        for task, levels in params.curriculum.levels.items() if params.curriculum else ():
            for level in levels:
                pretext = config.build(PretextParams, yaml.safe_load((ROOT / "params.yaml").read_text())["pretext"], "")
                config.build(TASKS[task], {**asdict(pretext.tasks[task]), **level.settings}, task)
