"""More than one process: groups never straddle two of them, and how many there are changes nothing that is learned."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import drill
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl import modeling_qwen3_vl

from videossr.errors import ConfigError, TrainingError
from videossr.train import launch
from videossr.train.params import TrainParams

ROOT = Path(__file__).parents[1]
CONFIGURATIONS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))

WORKER = """
import sys, pathlib
sys.path[:0] = {path!r}
import drill
grpo = {grpo!r}
drill.run(pathlib.Path({folder!r}), drill.changed({start!r}, grpo, processes={processes}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_two_processes_learn_what_one_learns_from_the_same_batch(tmp_path, loss_type):
    start = drill.warm()
    grpo = {
        "prompts_per_forward": 1,
        "prompts_per_rollout": 4,  # seeds every group, in one process too
        "kl_coefficient": 1e-3,
        "learning_rate": 1e-4,
        "loss_type": loss_type,
    }
    drill.run(tmp_path / "one", drill.changed(start, grpo))
    params = drill.changed(start, grpo, processes=2)
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(path=sys.path, grpo=grpo, folder=str(tmp_path / "two"), start=str(start), processes=2)
    )
    environment = {**os.environ, **launch.extra(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch.command(params, [str(script)], {}), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for one, two in zip(drill.curve(tmp_path / "one"), drill.curve(tmp_path / "two"), strict=True):
        for name in ("loss", "reward", "gradient_norm", "zero_variance"):
            assert one[name] == pytest.approx(two[name], abs=1e-4), name
    assert drill.same_weights(tmp_path / "one" / "policy", tmp_path / "two" / "policy", tolerance=2e-5)


def test_prompts_that_do_not_divide_among_the_processes_are_refused():
    with pytest.raises(ConfigError, match="must be a multiple of processes"):
        replace(drill.PARAMS, processes=3)


def test_a_stage_starts_others_only_where_it_is_none_of_them():
    alone, several = TrainParams(), TrainParams(processes=2)
    assert not launch.needed(alone, {})
    assert launch.needed(several, {})
    assert not launch.needed(several, {"LOCAL_RANK": "0"})
    assert launch.is_first({}) and launch.is_first({"RANK": "0"}) and not launch.is_first({"RANK": "1"})


def test_a_machine_of_several_takes_its_rank_from_the_environment():
    params = TrainParams(processes=16, accelerate=str(ROOT / "recipes/accelerate/fsdp2-2-nodes.yaml"))
    environment = {launch.MACHINE_RANK: "1", launch.MAIN_ADDRESS: "10.0.0.1"}
    line = launch.command(params, ["-m", "flows.train"], environment)
    assert line[-6:] == ["--machine_rank", "1", "--main_process_ip", "10.0.0.1", "-m", "flows.train"]


def test_a_configuration_that_is_not_there_is_one_sentence():
    with pytest.raises(ConfigError, match=r"there is no nowhere\.yaml"):
        launch.command(TrainParams(processes=2, accelerate="nowhere.yaml"), ["-m", "flows.train"], {})


def test_a_process_that_fails_ends_the_stage_with_a_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with pytest.raises(TrainingError, match="one of 2 training processes ended with"):
        launch.relaunch(TrainParams(processes=2), "broken", environment)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_configuration_of_accelerate_loads_and_wraps_layers_that_exist(path):
    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == 8 * loaded.num_machines
    assert loaded.fsdp_config["fsdp_version"] == 2
    assert loaded.fsdp_config["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    for name in Qwen3VLForConditionalGeneration._no_split_modules:
        assert hasattr(modeling_qwen3_vl, name)


def test_the_configuration_of_a_recipe_is_there_and_starts_as_many_processes():
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        params = yaml.safe_load(path.read_text())["train"]
        if params.get("accelerate"):
            assert load_config_from_file(str(ROOT / params["accelerate"])).num_processes == params["processes"]
