"""Training in several processes: how the stage starts itself again under `accelerate launch`.

if launch.must_relaunch(params, os.environ):
    launch.relaunch(params, "flows.train", os.environ)      # returns when all processes have ended well
else:
    ...                                                     # the stage itself; the first process alone records
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState

from videossr import config
from videossr.errors import ConfigError, TrainingError
from videossr.train.params import TrainParams

# Environment variables of a run over several machines.
MACHINE_RANK, MAIN_ADDRESS = "VIDEOSSR_MACHINE_RANK", "VIDEOSSR_MAIN_ADDRESS"


def is_sharded(train: TrainParams) -> bool:
    """Whether the run's accelerate file shards the model with FSDP. Raises ConfigError when the file is missing."""
    if train.accelerate is None:
        return False
    path = Path(train.accelerate)
    if not path.is_file():
        raise ConfigError(f"train.accelerate must be a file that accelerate reads, there is none at {path}")
    settings = config.read_yaml(path)
    return isinstance(settings, Mapping) and settings.get("distributed_type") == "FSDP"


def must_relaunch(params: TrainParams, environment: Mapping[str, str]) -> bool:
    """Whether the run wants several processes and this is none of them."""
    return params.processes > 1 and "LOCAL_RANK" not in environment


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this is the process that writes and records: the only one, or the first of several."""
    return environment.get("RANK", "0") == "0"


def relaunch(params: TrainParams, module: str, environment: Mapping[str, str]) -> None:
    """Run `python -m module` in `params.processes` processes, and wait. Raises TrainingError where one fails."""
    command = launch_command(params, ["-m", module], environment)
    code = subprocess.call(command, env={**environment, **process_environment()})
    if code:
        raise TrainingError(f"one of {params.processes} training processes ended with {code}: its last lines say why")


def launch_command(params: TrainParams, target: list[str], environment: Mapping[str, str]) -> list[str]:
    """The `accelerate launch` command line; `target` is what each process runs.

    On several machines the stage runs on each, with the machine's rank in `VIDEOSSR_MACHINE_RANK` and the address of
    the first machine in `VIDEOSSR_MAIN_ADDRESS`. Raises ConfigError where `params.accelerate` names no file.
    """
    line = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(params.processes)]
    if params.accelerate is not None:
        if not Path(params.accelerate).is_file():
            raise ConfigError(
                f"train.accelerate must name a configuration of accelerate, there is no {params.accelerate}"
            )
        line += ["--config_file", params.accelerate]
    else:
        # Every option is given, so that nothing is read from a configuration of this machine.
        line += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        line += ["--main_process_port", "0"]
    for flag, name in (("--machine_rank", MACHINE_RANK), ("--main_process_ip", MAIN_ADDRESS)):
        line += [flag, environment[name]] if name in environment else []
    return [*line, *target]


def process_environment() -> dict[str, str]:
    """Environment variables that the training processes need in addition."""
    # Without it every process warns that it searches for unused parameters, also in the one step that has them all.
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    return quiet if torch.cuda.is_available() else {**quiet, "ACCELERATE_USE_CPU": "true"}


def shard_on_cpus_too(state: PartialState, environment: Mapping[str, str]) -> None:
    """Make accelerate shard the model on CPUs where its configuration asks for FSDP.

    It shards over processes of GPUs alone; over processes of CPUs it would hold a whole copy in each, without a word.
    Call it after the processes have met and before the trainer is made.
    """
    if environment.get("ACCELERATE_USE_FSDP") == "true" and state.distributed_type is DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.MULTI_GPU


def receives_weights(state: PartialState, environment: Mapping[str, str]) -> bool:
    """Whether this process gets its shard of the weights from the first one, and reads none itself.

    So it is under FSDP, where each process would otherwise read the whole checkpoint into the memory of its machine.
    """
    sends = environment.get("ACCELERATE_USE_FSDP") == environment.get("FSDP_CPU_RAM_EFFICIENT_LOADING") == "true"
    return sends and not state.is_main_process
