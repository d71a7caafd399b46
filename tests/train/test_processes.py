"""Training in several processes: groups are never split between them, and their number changes nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl import modeling_qwen3_vl

from tests.support import ROOT, tiny_policy, tiny_training
from videossr.errors import ConfigError, TrainingError
from videossr.train import launch
from videossr.train.params import TrainParams

CONFIGURATIONS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))

WORKER = """
import sys, pathlib
sys.path[:0] = {path!r}
from tests.support import tiny_training
grpo = {grpo!r}
tiny_training.run(pathlib.Path({folder!r}), tiny_training.changed({start!r}, grpo, processes={processes}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_two_processes_learn_what_one_learns_from_the_same_batch(tmp_path, loss_type):
    start = tiny_training.warm()
    grpo = {
        "prompts_per_forward": 1,
        "prompts_per_rollout": 4,  # seeds every group, in one process too
        "kl_coefficient": 1e-3,
        "learning_rate": 1e-4,
        "loss_type": loss_type,
    }
    tiny_training.run(tmp_path / "one", tiny_training.changed(start, grpo))
    params = tiny_training.changed(start, grpo, processes=2)
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(path=sys.path, grpo=grpo, folder=str(tmp_path / "two"), start=str(start), processes=2)
    )
    environment = {**os.environ, **launch.process_environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        launch.launch_command(params, [str(script)], {}), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for one, two in zip(tiny_training.curve(tmp_path / "one"), tiny_training.curve(tmp_path / "two"), strict=True):
        by_task = [name for name in one if name.endswith("/counting")]
        assert {"kl/counting", "entropy/counting", "length/counting"} <= set(by_task)
        for name in ("loss", "reward", "gradient_norm", "zero_variance", *by_task):
            assert one[name] == pytest.approx(two[name], abs=1e-4), name
    assert tiny_training.same_weights(tmp_path / "one" / "policy", tmp_path / "two" / "policy", tolerance=2e-5)


STAGE = """
import sys, pathlib
sys.path[:0] = {path!r}
from accelerate import PartialState
from tests.support import tiny_training
from videossr.train import build_trainer

def note_reading(name, dtype, load=build_trainer.load_model):
    with open({folder!r} + "-readers", "a") as file:
        file.write(str(PartialState().process_index))
    return load(name, dtype)

build_trainer.load_model = note_reading
params = tiny_training.changed({start!r}, {grpo!r}, processes=2, accelerate={file!r})
tiny_training.run(pathlib.Path({folder!r}), params)
"""


@pytest.fixture(scope="module")
def sharded_runs(tmp_path_factory):
    """The same run in one process and sharded over two, by the train stage; the sharded one stopped and continued."""
    folder, start = tmp_path_factory.mktemp("sharded"), tiny_training.warm()
    grpo = {"prompts_per_forward": 1, "prompts_per_rollout": 4, "kl_coefficient": 1e-3, "learning_rate": 1e-4}
    tiny_training.run(folder / "one", tiny_training.changed(start, grpo))
    file = folder / "fsdp.yaml"
    file.write_text(yaml.safe_dump(two_cpu_processes(ROOT / "recipes/accelerate/fsdp2-8-gpus.yaml")))
    for name, runs in (("two", [3]), ("continued", [2, 3])):
        for steps in runs:
            given = {"path": sys.path, "folder": str(folder / name), "start": str(start), "file": str(file)}
            launch_stage(folder, STAGE.format(**given, grpo={**grpo, "steps": steps}), file)
    logged = next((folder / "continued").glob("work/*/grpo.jsonl")).read_text().splitlines()
    return folder, [json.loads(line)["step"] for line in logged]


def two_cpu_processes(path):
    """The configuration of a recipe, for two processes on this machine."""
    return {**yaml.safe_load(path.read_text()), "num_processes": 2, "mixed_precision": "no", "main_process_port": 0}


def launch_stage(folder, script, file):
    (folder / "worker.py").write_text(script)
    line = launch.launch_command(TrainParams(processes=2, accelerate=str(file)), [str(folder / "worker.py")], {})
    environment = {**os.environ, **launch.process_environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_run_sharded_over_two_processes_learns_what_one_process_learns(sharded_runs):
    folder, _ = sharded_runs
    for one, two in zip(tiny_training.curve(folder / "one"), tiny_training.curve(folder / "two"), strict=True):
        for name in ("loss", "reward", "gradient_norm", "zero_variance", "kl/counting", "entropy/counting"):
            assert one[name] == pytest.approx(two[name], abs=1e-4), name
    assert tiny_training.same_weights(folder / "one" / "policy", folder / "two" / "policy", tolerance=2e-5)


@pytest.mark.slow
def test_one_process_of_a_machine_reads_the_weights_and_sends_the_others_their_shards(sharded_runs):
    folder, _ = sharded_runs
    assert (folder / "two-readers").read_text() == "00", "the policy and its reference, both in the first process"


@pytest.mark.slow
def test_a_sharded_run_that_stopped_continues_on_the_same_course(sharded_runs):
    folder, steps = sharded_runs
    assert steps == [1, 2, 3], "the second run began at step 3"
    assert tiny_training.same_weights(folder / "two" / "policy", folder / "continued" / "policy", tolerance=1e-6)


SKIPPING = """
import sys, pathlib
sys.path[:0] = {path!r}
from tests.support import tiny_policy, tiny_training
store = {{name: clip for name, clip in tiny_policy.clips().items() if name != "video2"}}
params = tiny_training.changed({start!r}, {grpo!r}, processes={processes})
tiny_training.run(pathlib.Path({folder!r}), params, tiny_policy.samples(64), store)
"""


@pytest.mark.slow
def test_two_processes_report_every_task_and_every_skipped_sample_as_one_does(tmp_path):
    """Several tasks in one step, and a missing video that only one process meets."""
    start = tiny_training.warm()
    grpo = {
        "steps": 6,
        "prompts_per_forward": 1,
        "prompts_per_rollout": 4,
        "kl_coefficient": 1e-3,
        "learning_rate": 1e-5,
    }
    store = {name: clip for name, clip in tiny_policy.clips().items() if name != "video2"}
    one = tiny_training.run(tmp_path / "one", tiny_training.changed(start, grpo), tiny_policy.samples(64), store)
    script = tmp_path / "worker.py"
    given = {"path": sys.path, "grpo": grpo, "folder": str(tmp_path / "two"), "start": str(start), "processes": 2}
    script.write_text(SKIPPING.format(**given))
    environment = {**os.environ, **launch.process_environment(), "OMP_NUM_THREADS": "1"}
    command = launch.launch_command(tiny_training.changed(start, grpo, processes=2), [str(script)], {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "two" / "train.json").read_text())
    assert report["skipped"] == one.skipped and len(one.skipped) > 1
    for row, other in zip(one.grpo, report["grpo"], strict=True):
        names = {name for name in row if "/" in name} | {"skipped"} & set(row)
        assert {name: row[name] for name in names} == pytest.approx({n: other[n] for n in names}, abs=1e-4)
    state = max(
        (tmp_path / "two").glob("work/*/grpo/checkpoint-*/videossr_state.json"), key=lambda path: path.stat().st_mtime
    )
    assert json.loads(state.read_text())["skipped"] == one.skipped


SHARDED = """
import sys
sys.path[:0] = {path!r}
import torch, torch.distributed as dist
from tests.support import tiny_policy, tiny_training
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from trl.trainer.utils import add_fused_lm_head
from videossr.models.backbone import gather_head
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.model_inputs import mask_vision_tokens
from videossr.models.policy import Prompt
from videossr.models.encode_prompt import encode
from videossr.models.generation import Decoding, generate_branches
from videossr.train.prefix import Group, shared_logps

dist.init_process_group("gloo")
mesh, rank = init_device_mesh("cpu", (2,)), dist.get_rank()
processor, samples = load_processor({start!r}), tiny_policy.samples(4)[2 * rank : 2 * rank + 2]
clips = [tuple(tiny_policy.TASKS[s.task].render(s, tiny_policy.clips())) for s in samples]
prompts = [encode(processor, Prompt(s.question, shown)) for s, shown in zip(samples, clips)]
groups = [Group(prompt, [torch.arange(7, 10), torch.arange(7, 14)]) for prompt in prompts]
whole, sharded = (load_model({start!r}, "float32").train() for _ in range(2))
for model in (whole, sharded):
    if not {tied}:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    mask_vision_tokens(model)
    gather_head(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
for module in sharded.modules():
    if type(module).__name__ in sharded._no_split_modules:
        fully_shard(module, mesh=mesh)
if not {tied}:  # a shard of its own, as accelerate makes it
    fully_shard(sharded.lm_head, mesh=mesh, reshard_after_forward=False)
fully_shard(sharded, mesh=mesh)
one, other = (shared_logps(model, groups, 0)[0] for model in (whole, sharded))
torch.testing.assert_close(one, other)
one.sum().backward()
other.sum().backward()
for p, q in zip(whole.parameters(), sharded.parameters(), strict=True):
    dist.all_reduce(p.grad)
    torch.testing.assert_close(q.grad.full_tensor(), p.grad / 2)
# The processes sample completions of different lengths: the shorter one must keep stepping with the other.
ends = (tuple(range(0, 400, 2)), ()) [rank]
decoding = Decoding(max_new_tokens=7, temperature=1.0, end_ids=ends, suppressed_ids=(), pad_id=0)
one = generate_branches(whole, prompts, 3, decoding, [1, 2])
other = generate_branches(sharded, prompts, 3, decoding, [1, 2], synced=True)
other = other[:, :one.shape[1]]
assert torch.equal(one, other)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False], ids=["tied head", "head of its own"])
def test_a_sharded_model_gives_the_same_values_gradients_and_completions(tmp_path, tied):
    """FSDP2 over two processes: every forward pass goes through the wrapped model; vision tokens are masked."""
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED.format(path=sys.path, start=str(tiny_training.warm()), tied=tied))
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]


def test_fewer_processes_than_the_run_needs_are_an_error(tmp_path):
    with pytest.raises(TrainingError, match="train.processes is 2, but 1 run"):
        tiny_training.run(tmp_path, replace(tiny_training.PARAMS, processes=2))


def test_prompts_must_divide_among_the_processes():
    with pytest.raises(ConfigError, match="must be a multiple of processes"):
        replace(tiny_training.PARAMS, processes=3)


def test_only_a_process_outside_accelerate_relaunches():
    alone, several = TrainParams(), TrainParams(processes=2)
    assert not launch.must_relaunch(alone, {})
    assert launch.must_relaunch(several, {})
    assert not launch.must_relaunch(several, {"LOCAL_RANK": "0"})
    assert launch.is_first({}) and launch.is_first({"RANK": "0"}) and not launch.is_first({"RANK": "1"})


def test_the_rank_of_a_machine_comes_from_the_environment():
    params = TrainParams(processes=16, accelerate=str(ROOT / "recipes/accelerate/fsdp2-2-nodes.yaml"))
    environment = {launch.MACHINE_RANK: "1", launch.MAIN_ADDRESS: "10.0.0.1"}
    line = launch.launch_command(params, ["-m", "flows.train"], environment)
    assert line[-6:] == ["--machine_rank", "1", "--main_process_ip", "10.0.0.1", "-m", "flows.train"]


def test_a_missing_configuration_is_one_sentence():
    with pytest.raises(ConfigError, match=r"there is no nowhere\.yaml"):
        launch.launch_command(TrainParams(processes=2, accelerate="nowhere.yaml"), ["-m", "flows.train"], {})


def test_a_process_that_fails_ends_the_stage_with_a_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with pytest.raises(TrainingError, match="one of 2 training processes ended with"):
        launch.relaunch(TrainParams(processes=2), "broken", environment)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_accelerate_configuration_loads_and_wraps_existing_layers(path):
    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == 8 * loaded.num_machines
    assert loaded.fsdp_config["fsdp_version"] == 2
    assert loaded.fsdp_config["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    for name in Qwen3VLForConditionalGeneration._no_split_modules:
        assert hasattr(modeling_qwen3_vl, name)


def test_a_recipes_configuration_exists_and_has_as_many_processes():
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        params = yaml.safe_load(path.read_text())["train"]
        if params.get("accelerate"):
            assert load_config_from_file(str(ROOT / params["accelerate"])).num_processes == params["processes"]
