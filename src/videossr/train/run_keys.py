"""The keys of a run and of its warm start: runs with the same key may continue from each other's checkpoints."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videossr.records import Sample
from videossr.storage.fingerprint import folder_fingerprint
from videossr.train.launch import is_sharded
from videossr.train.params import TrainParams

# These parameters decide how the work is cut, spread and saved, and change what is learned by rounding only. A run that
# ran out of memory, or found more GPUs, continues with other values.
_CHANGES_ROUNDING_ONLY = ("prompts_per_forward", "prompts_per_rollout", "gradient_checkpointing", "checkpoint_every")
_SPREADS_THE_WORK = ("processes", "accelerate", "shared_prefix")


def run_key(params: TrainParams, samples: Sequence[Sample]) -> str:
    """The key of the whole run, 16 hex digits: a hash of parameters, policy and samples.

    Runs of different lengths share a key where their steps are the same as far as both go. Runs on different numbers of
    processes share it where they can read each other's checkpoints.
    """
    unimportant = {*_CHANGES_ROUNDING_ONLY, *(() if depends_on_length(params) else ("steps",))}
    section = {name: value for name, value in asdict(params).items() if name not in _SPREADS_THE_WORK}
    section["grpo"] = {name: value for name, value in section["grpo"].items() if name not in unimportant}
    return _key([section, is_sharded(params), _policy_identity(params)], samples)


def depends_on_length(params: TrainParams) -> bool:
    """Whether the first steps of a run depend on how many follow: the learning rate falls over all of them."""
    return params.grpo.lr_schedule != "constant"


def start_key(params: TrainParams, samples: Sequence[Sample]) -> str:
    """The key of the policy that GRPO starts from. Of GRPO's parameters only `max_prompt_tokens` changes it."""
    sections = [asdict(section) for section in (params.tiny_random, params.warmup)]
    return _key([(sections, params.seed, params.grpo.max_prompt_tokens), _policy_identity(params)], samples)


def _policy_identity(params: TrainParams) -> list[str]:
    """A policy by its name and, where it is a folder, by its bytes, because the folder's content may change."""
    folder = Path(params.policy)
    return [params.policy, folder_fingerprint(folder) if folder.is_dir() else ""]


def _key(parts: list[Any], samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for sample in samples:
        digest.update(json.dumps(vars(sample), sort_keys=True).encode())
    return digest.hexdigest()[:16]
