"""A training run small enough for a test: a few samples, a warm-started tiny policy, steps of a tenth of a second."""

import atexit
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.support import tiny_policy
from videossr.clip import Clip
from videossr.models.checkpoint import load_model
from videossr.records import Sample
from videossr.train.params import GrpoParams, TrainParams, WarmupParams, WarmupPhase
from videossr.train.stage import TrainReport, train

GRPO = GrpoParams(
    steps=3,
    prompts_per_step=4,
    prompts_per_forward=2,
    group_size=4,
    learning_rate=1e-3,
    kl_coefficient=0.0,
    max_completion_tokens=8,
    checkpoint_every=2,
    gradient_checkpointing=False,
    bf16=False,
)
PARAMS = TrainParams(
    tiny_random=tiny_policy.TINY,
    warmup=WarmupParams((WarmupPhase(60, 4),), learning_rate=5e-3, checkpoint_every=10),
    grpo=GRPO,
)


def warmup_of(steps: int) -> WarmupParams:
    """The warm start of `PARAMS` with another number of steps."""
    return replace(PARAMS.warmup, phases=(WarmupPhase(steps, 4),))


COUNTING = [sample for sample in tiny_policy.samples(64) if sample.task == "counting"]


def changed(policy: Path, grpo: Mapping[str, Any] | None = None, **fields: Any) -> TrainParams:
    """The parameters of a run that starts from a policy in a folder, with these changes."""
    return replace(PARAMS, policy=str(policy), grpo=replace(GRPO, **(grpo or {})), **fields)


def run(
    folder: Path,
    params: TrainParams = PARAMS,
    samples: Sequence[Sample] = COUNTING,
    store: Mapping[str, Clip] | None = None,
    log_metrics: Callable[[dict[str, float], int], None] = lambda metrics, step: None,
    warn: Callable[[str, str], None] = lambda kind, sentence: None,
) -> TrainReport:
    """Train in `folder`: start/ and policy/, work/ and train.json."""
    paths = [folder / name for name in ("start", "policy", "work", "train.json")]
    return train(
        params, samples, tiny_policy.clips() if store is None else store, *paths, log_metrics, tiny_policy.TASKS, warn
    )


@cache
def warm() -> Path:
    """The folder of a policy after a short warm start on counting: it answers in the right form. Read-only."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    run(Path(folder.name), replace(PARAMS, grpo=replace(GRPO, steps=1)))
    return Path(folder.name) / "start"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder, "float32").state_dict()


def same_weights(one: Path, other: Path, tolerance: float = 1e-5) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.allclose(first[name], second[name], rtol=0, atol=tolerance) for name in first)


def curve(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "train.json").read_text())["grpo"]
