"""Training in more than one process: how a stage starts itself again under `accelerate launch`.

if launch.needed(params, os.environ):
    launch.relaunch(params, "flows.train", os.environ)      # returns when all processes have ended well
else:
    ...                                                     # the stage itself; the first process alone records
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from videossr.errors import ConfigError, TrainingError
from videossr.train.params import TrainParams

MACHINE_RANK, MAIN_ADDRESS = "VIDEOSSR_MACHINE_RANK", "VIDEOSSR_MAIN_ADDRESS"  # of a run over several machines


def needed(params: TrainParams, environment: Mapping[str, str]) -> bool:
    """Whether this process must start others: the run wants several, and it is none of them."""
    return params.processes > 1 and "LOCAL_RANK" not in environment


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this is the process that writes and records: the only one, or the first of several."""
    return environment.get("RANK", "0") == "0"


def relaunch(params: TrainParams, module: str, environment: Mapping[str, str]) -> None:
    """Run `python -m module` in `params.processes` processes, and wait. Raises TrainingError where one fails."""
    code = subprocess.call(command(params, ["-m", module], environment), env={**environment, **extra()})
    if code:
        raise TrainingError(f"one of {params.processes} training processes ended with {code}: its last lines say why")


def command(params: TrainParams, target: list[str], environment: Mapping[str, str]) -> list[str]:
    """The `accelerate launch` command line; `target` is what each process runs. Raises ConfigError.

    Of several machines each runs the stage, with the rank of the machine and the address of the first in
    `VIDEOSSR_MACHINE_RANK` and `VIDEOSSR_MAIN_ADDRESS`.
    """
    line = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(params.processes)]
    if params.accelerate is not None:
        if not Path(params.accelerate).is_file():
            raise ConfigError(
                f"train.accelerate must name a configuration of accelerate, there is no {params.accelerate}"
            )
        line += ["--config_file", params.accelerate]
    else:
        # Said in full, so that nothing is taken from a configuration that happens to lie on this machine.
        line += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        line += ["--main_process_port", "0"]
    for flag, name in (("--machine_rank", MACHINE_RANK), ("--main_process_ip", MAIN_ADDRESS)):
        line += [flag, environment[name]] if name in environment else []
    return [*line, *target]


def extra() -> dict[str, str]:
    """What the processes need in their environment besides."""
    # Else every process warns that it looks for parameters without a gradient, in the one step that has them all.
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    return quiet if torch.cuda.is_available() else {**quiet, "ACCELERATE_USE_CPU": "true"}
