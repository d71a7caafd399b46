"""Find a checkpoint by folder or by hub name, and load it as a model, a processor or a policy."""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from videossr.errors import PolicyError
from videossr.models.attention import use_branched_attention
from videossr.models.patches import use_patch_product
from videossr.models.qwen import QwenPolicy
from videossr.storage.fingerprint import folder_fingerprint

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"  # marks a folder of adapter weights for another checkpoint
MAX_NEW_TOKENS = 32  # an answer has 4 to 20 tokens
ANSWER_DTYPE = {"cuda": "bfloat16", "cpu": "float32"}
POLICY_POINTER = "policy.json"  # in models/start, holds the name of a policy that is loaded from elsewhere


def resolve_checkpoint(folder: Path) -> str:
    """The checkpoint of a policy folder: the folder itself, or the name in its `POLICY_POINTER`.

    Raises PolicyError when the folder holds neither.
    """
    pointer = folder / POLICY_POINTER
    if pointer.exists():
        return json.loads(pointer.read_text())["policy"]
    if not (folder / CONFIG).exists() and not (folder / ADAPTER_CONFIG).exists():
        raise PolicyError(f"{folder} must hold a checkpoint (config.json): run the train stage first")
    return str(folder)


def load_processor(name_or_path: str | Path) -> ProcessorMixin:
    """Load the processor of a checkpoint.

    Adapters that were saved without one have that of their base. Raises PolicyError when it cannot be loaded, or when
    it does not accept videos.
    """
    if is_adapters(name_or_path) and not (Path(name_or_path) / "tokenizer_config.json").exists():
        return load_processor(_base_of(Path(name_or_path)))
    try:
        processor = AutoProcessor.from_pretrained(str(name_or_path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise PolicyError(_load_failure(name_or_path, error)) from None
    if getattr(processor, "video_processor", None) is None:
        raise PolicyError(f"{name_or_path} has no video processor: choose a video model such as Qwen3-VL or Qwen2.5-VL")
    return processor


def load_model(name_or_path: str | Path, dtype: str = "auto") -> PreTrainedModel:
    """Load a video-language model by hub name or folder. Code inside the checkpoint is never executed.

    For a folder of adapters, the base model is loaded first: from a subfolder or from the name in the adapter's
    configuration. Raises PolicyError when the model cannot be loaded, or when weights are missing.
    """
    if is_adapters(name_or_path):
        from peft import PeftModel  # only adapters need this import

        return PeftModel.from_pretrained(load_model(_base_of(Path(name_or_path)), dtype), str(name_or_path))
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            str(name_or_path), dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise PolicyError(_load_failure(name_or_path, error)) from None
    _require_family(model, name_or_path)
    _require_all_weights(found["missing_keys"] | {name for name, *_ in found["mismatched_keys"]}, name_or_path)
    use_patch_product(model)
    return model


def is_adapters(name_or_path: str | Path) -> bool:
    """Whether a checkpoint is a folder of adapters for another one."""
    return (Path(name_or_path) / ADAPTER_CONFIG).exists()


def _base_of(adapters: Path) -> str:
    """The base of a folder of adapters: a folder within it, or another folder or name."""
    base: str = json.loads((adapters / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    return str(adapters / base) if (adapters / base).exists() else base


def load_empty_model(name_or_path: str | Path, dtype: str) -> PreTrainedModel:
    """The model of a checkpoint without its weights, for a process that receives them from another one.

    Weights are storage that nothing was written to, which takes no memory; buffers are computed. Raises PolicyError
    like `load_model`.
    """
    try:
        config = AutoConfig.from_pretrained(str(name_or_path), trust_remote_code=False)
        with init_empty_weights():
            model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise PolicyError(_load_failure(name_or_path, error)) from None
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            # Not on the meta device, where accelerate could not tell one weight from another by its address.
            setattr(module, name, torch.nn.Parameter(torch.empty_like(weight, device="cpu")))
    model.tie_weights()
    with suppress(OSError):  # a checkpoint without one keeps the model's own, as in `load_model`
        model.generation_config = GenerationConfig.from_pretrained(str(name_or_path))
    _require_family(model, name_or_path)
    use_patch_product(model)
    return model


def _require_family(model: PreTrainedModel, name_or_path: str | Path) -> None:
    """Refuse a model without the parts that prompts and packed rows need, before any of them is missed."""
    base = getattr(model, "model", None)
    if not all(hasattr(base, part) for part in ("visual", "language_model", "get_rope_index", "get_video_features")):
        raise PolicyError(
            f"{name_or_path} is a {type(model).__name__}, which has other parts than a Qwen-VL model: choose a "
            "checkpoint of Qwen2.5-VL, Qwen3-VL or Qwen3.5"
        )


def _require_all_weights(missing: Collection[str], name_or_path: str | Path) -> None:
    """Refuse a checkpoint with missing weights, which transformers would fill with random numbers."""
    if missing:
        raise PolicyError(
            f"{name_or_path} lacks {len(missing)} of the model's weights, the first {min(missing)}: copy or download "
            "the checkpoint again"
        )


def _load_failure(name_or_path: str | Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return (
        f"no model can be loaded from '{name_or_path}' ({reason}): "
        "give a folder with a checkpoint, a name that is in the local hub cache, or 'tiny-random'"
    )


def checkpoint_id(name_or_path: str | Path) -> str:
    """What identifies a loaded checkpoint: the bytes of its folder, or its name and commit on the Hub.

    Of adapters without their base in the folder, the base is named too.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        cached = try_to_load_from_cache(str(name_or_path), CONFIG)  # snapshots/COMMIT/config.json
        return f"{name_or_path}@{Path(cached).parent.name if isinstance(cached, str) else 'unknown'}"
    own = folder_fingerprint(folder)
    if not is_adapters(folder):
        return own
    base = _base_of(folder)
    # A base elsewhere is not among the bytes of this folder.
    return own if Path(base).resolve().is_relative_to(folder.resolve()) else f"{own} on {checkpoint_id(base)}"


def answer_settings() -> dict[str, Any]:
    """How a policy answers on this machine: the same for every policy, whatever its weights are stored in."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"device": device, "dtype": ANSWER_DTYPE[device], "max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0}


def load_policy(name_or_path: str | Path, max_new_tokens: int = MAX_NEW_TOKENS, dtype: str | None = None) -> QwenPolicy:
    """Load a checkpoint as a policy, on the GPU if there is one.

    `dtype` is the precision it answers in, whatever its weights are stored in: bfloat16 on a GPU and float32 on a CPU
    where it is not given, so that a policy before and after training is judged alike. Raises PolicyError when it cannot
    be loaded, or when it does not accept videos.
    """
    processor = load_processor(name_or_path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(name_or_path, dtype or ANSWER_DTYPE[device]).to(device)
    use_branched_attention(model)
    return QwenPolicy(model, processor, max_new_tokens)
