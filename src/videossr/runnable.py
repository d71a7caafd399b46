"""Whether a run can go to its end here: its source, policy, files and libraries, checked before the first frame.

Nothing is imported that takes seconds: neither torch nor a model is needed to find these faults.
"""

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from videossr import config
from videossr.errors import BenchmarkError, ConfigError, PolicyError
from videossr.evaluation.benchmarks import BENCHMARKS
from videossr.evaluation.downstream.params import DownstreamParams
from videossr.ingest.remote import is_url, require_reachable
from videossr.ingest.sources import require_usable_source
from videossr.recipe import Recipe
from videossr.train.params import BITSANDBYTES, TINY_RANDOM, TrainParams

_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
_LINEAR_ATTENTION = ("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj")
# The linear layers of the language model by the `model_type` of config.json: what adapters can be put on.
LINEAR_LAYERS = {
    "qwen2_5_vl": (*_ATTENTION, *_MLP),
    "qwen3_vl": (*_ATTENTION, *_MLP),
    "qwen3_vl_moe": _ATTENTION,
    "qwen3_5": (*_ATTENTION, *_MLP, *_LINEAR_ATTENTION),
    "qwen3_5_moe": (*_ATTENTION, *_MLP, *_LINEAR_ATTENTION, "shared_expert_gate"),
}
# What a folder must hold besides config.json to be loaded.
_CHECKPOINT_FILES = {
    "weights": ("*.safetensors",),
    "tokenizer": ("tokenizer.json", "vocab.json"),
    "video processor": ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json"),
}


def require_source(recipe: Recipe, project: Path, made_videos_dir: Path) -> None:
    """Raise SourceError or ConfigError where the videos of the run cannot be found. Opens none of them.

    `made_videos_dir` is where synthetic videos are written; it must not be the source.
    """
    if is_url(recipe.ingest.source):
        require_reachable(recipe.ingest.source)
    else:
        require_usable_source(recipe.ingest.source, made_videos_dir, below=project)


def require_files_and_libraries(recipe: Recipe, project: Path) -> None:
    """Raise a VideoSSRError, with the first fault, where a stage would stop for want of a file or library.

    A model of a hub that is not on this machine is no fault, because the train stage downloads it, except with
    HF_HUB_OFFLINE.
    """
    _require_benchmarks(recipe.downstream, project)
    train = recipe.train
    _require_accelerate_file(train, project)
    _require_optimizer_library(train)
    _require_lora_targets(train, _policy_config(train, project))


def _require_benchmarks(downstream: DownstreamParams, project: Path) -> None:
    """Raise BenchmarkError where a benchmark has no folder of annotations; what is in it, `load` checks."""
    for key in () if downstream.is_made else downstream.benchmarks:
        annotations, videos = downstream.folders(key, project)
        for what, folder in (("annotations", annotations), ("videos", videos)):
            if not (project / folder).is_dir():
                raise BenchmarkError(
                    f"downstream.{what} must hold a folder for each benchmark, there is no {folder}: "
                    f"{BENCHMARKS[key].obtain} (`videossr benchmarks` lists what is here), or leave {key} out of "
                    "downstream.benchmarks"
                )


def _require_accelerate_file(train: TrainParams, project: Path) -> None:
    if train.accelerate is None:
        return
    path = project / train.accelerate
    if not path.is_file():
        raise ConfigError(f"train.accelerate must name a configuration of accelerate, there is no {train.accelerate}")
    settings = config.read_yaml(path)
    if not isinstance(settings, Mapping) or "distributed_type" not in settings:
        raise ConfigError(
            f"train.accelerate must name a configuration of accelerate, {train.accelerate} is none: write one with "
            "`accelerate config --config_file FILE`"
        )


def _require_optimizer_library(train: TrainParams) -> None:
    optimizer = train.grpo.optimizer
    if optimizer in BITSANDBYTES and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"train.grpo.optimizer '{optimizer}' needs the library bitsandbytes, which is not installed: install it "
            "(pip install -e '.[optimizers]'), or set adamw_torch_fused"
        )


def _require_lora_targets(train: TrainParams, policy_config: Mapping[str, Any]) -> None:
    layers = LINEAR_LAYERS.get(policy_config.get("model_type", ""))
    if train.lora is None or not layers:
        return
    # A layer of another model is no mistake: adapters leave it out, and the train stage names it.
    unknown = set(train.lora.targets).difference(*LINEAR_LAYERS.values())
    if unknown or not set(train.lora.targets) & set(layers):
        raise ConfigError(
            f"train.lora.targets must name linear layers of {train.policy}, "
            f"{', '.join(sorted(unknown) or train.lora.targets)} match none: choose among {', '.join(layers)}"
        )


def _policy_config(train: TrainParams, project: Path) -> Mapping[str, Any]:
    """What is known of the policy's config.json without loading it; empty where nothing is."""
    if train.policy == TINY_RANDOM:
        return {"model_type": "qwen3_5" if train.tiny_random.linear_attention else "qwen3_vl"}
    return _checkpoint_config("train.policy", train.policy, project)


def _checkpoint_config(where: str, policy: str, project: Path) -> Mapping[str, Any]:
    folder = project / policy
    if folder.is_dir():
        return _folder_config(where, policy, folder, project)
    cached = None if _is_path(policy, project) else _cached_config(policy)
    if cached is None:
        problem = f"{policy} is a file" if folder.exists() else f"there is no folder {policy}"
        raise PolicyError(
            f"{where} must be a folder with a checkpoint, the name of a model, or '{TINY_RANDOM}': {problem}"
        )
    return cached


def _folder_config(where: str, policy: str, folder: Path, project: Path) -> Mapping[str, Any]:
    """The config.json of a checkpoint; of adapters, that of their base. Raises PolicyError where files are missing."""
    if (folder / "adapter_config.json").is_file():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        beside = (folder / str(base)).resolve()
        if not base or beside == folder.resolve():
            raise PolicyError(f"{where} must name adapters with a base, {policy}/adapter_config.json names none")
        where = f"the base of the adapters {policy}"
        return _checkpoint_config(where, str(beside if beside.is_dir() else base), project)
    if not (folder / "config.json").is_file():
        raise PolicyError(f"{where} must be a folder with a checkpoint, {policy or '.'} has no config.json")
    found = _read_json(folder / "config.json")
    if "vision_config" not in found:
        raise PolicyError(
            f"{where} must be a model of text and video, {policy} is a {found.get('model_type', 'model')} without a "
            "vision tower: choose a checkpoint of Qwen2.5-VL, Qwen3-VL or Qwen3.5"
        )
    for what, patterns in _CHECKPOINT_FILES.items():
        if not any(next(folder.glob(pattern), None) for pattern in patterns):
            raise PolicyError(f"{where} must be a whole checkpoint, {policy} lacks its {what} ({', '.join(patterns)})")
    return found


def _is_path(policy: str, project: Path) -> bool:
    """Whether a policy that is no folder was meant as one: no name has its form, or it begins with a folder."""
    if (project / policy).exists():
        return True
    has_form_of_name = re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", policy) is not None
    return not has_form_of_name or (project / policy).parent != project and (project / policy).parent.is_dir()


def _cached_config(name: str) -> Mapping[str, Any] | None:
    """The configuration of a model in the local hub cache, or shipped with the package; else empty.

    None where the name can neither be found on this machine nor downloaded.
    """
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json")
    if isinstance(path, str):
        return _read_json(Path(path))
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    # The package videossr.plan, which owns this file, imports torch.
    with resources.as_file(resources.files("videossr").joinpath("plan/architectures.yaml")) as shipped:
        return config.read_yaml(shipped).get(name, {})


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PolicyError(f"{path} is not valid JSON ({error}): replace the checkpoint") from None
    return content if isinstance(content, dict) else {}
