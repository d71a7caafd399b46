"""What makes a run this run: two runs of one key may go on from each other's checkpoints."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videossr.records import Sample
from videossr.storage.fingerprint import folder_fingerprint
from videossr.train.params import TrainParams

# They say how the work is cut or kept, not what is learned, beyond rounding: a run that ran out of memory goes on with
# others.
_CUT = ("prompts_per_forward", "prompts_per_rollout", "gradient_checkpointing", "checkpoint_every")


def run_key(params: TrainParams, samples: Sequence[Sample]) -> str:
    """The key of the whole run: parameters, policy, samples."""
    section = asdict(params)
    section["grpo"] = {name: value for name, value in section["grpo"].items() if name not in _CUT}
    return _key([section, _policy(params)], samples)


def start_key(params: TrainParams, samples: Sequence[Sample]) -> str:
    """The key of the policy that GRPO starts from: no parameter of GRPO changes it but the longest prompt."""
    decisive = (params.tiny_random, params.warmup)
    told = [asdict(part) for part in decisive], params.seed, params.grpo.max_prompt_tokens
    return _key([told, _policy(params)], samples)


def _policy(params: TrainParams) -> list[str]:
    """A policy by name, and by its bytes where it is a folder: another one may come to lie there."""
    folder = Path(params.policy)
    return [params.policy, folder_fingerprint(folder) if folder.is_dir() else ""]


def _key(told: list[Any], samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for sample in samples:
        digest.update(json.dumps(asdict(sample), sort_keys=True).encode())
    return digest.hexdigest()[:16]
