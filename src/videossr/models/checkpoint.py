"""Checkpoints on disk and by name: which one a folder stands for, and loading it as model, processor or policy."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from videossr.errors import PolicyError
from videossr.models.qwen import QwenPolicy

ADAPTER = "adapter_config.json"  # in the folder of a policy that is an adapter on another checkpoint
POINTER = "policy.json"  # in the start folder of a policy that was loaded by name


def resolve_checkpoint(folder: Path) -> str:
    """The checkpoint a policy folder stands for: itself, or the name its pointer holds."""
    pointer = folder / POINTER
    if pointer.exists():
        return json.loads(pointer.read_text())["policy"]
    if not (folder / "config.json").exists() and not (folder / ADAPTER).exists():
        raise PolicyError(f"{folder} must hold a checkpoint (config.json): run the train stage first")
    return str(folder)


def load_processor(name_or_path: str | Path) -> ProcessorMixin:
    """Load the processor beside a checkpoint.

    Raises PolicyError when there is none by that name, or when it cannot take videos.
    """
    try:
        processor = AutoProcessor.from_pretrained(str(name_or_path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise PolicyError(_not_loadable(name_or_path, error)) from None
    if getattr(processor, "video_processor", None) is None:
        raise PolicyError(f"{name_or_path} has no video processor: choose a video model such as Qwen3-VL or Qwen2.5-VL")
    return processor


def load_model(name_or_path: str | Path, dtype: str = "auto") -> PreTrainedModel:
    """Load a video-language model by hub name or folder; its code never comes from the checkpoint.

    A folder of adapters is loaded on the base that it names, inside the folder or elsewhere. Raises PolicyError when
    there is none by that name.
    """
    adapter = Path(name_or_path) / ADAPTER
    if adapter.exists():
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
        inside = adapter.parent / base
        from peft import PeftModel  # no other checkpoint needs it

        return PeftModel.from_pretrained(load_model(inside if inside.exists() else base, dtype), str(name_or_path))
    try:
        return AutoModelForImageTextToText.from_pretrained(str(name_or_path), dtype=dtype, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise PolicyError(_not_loadable(name_or_path, error)) from None


def _not_loadable(name_or_path: str | Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return (
        f"no model can be loaded from '{name_or_path}' ({reason}): "
        "give a folder with a checkpoint, a name that is in the local hub cache, or 'tiny-random'"
    )


def load_policy(name_or_path: str | Path, max_new_tokens: int = 32) -> QwenPolicy:
    """Load a checkpoint as a policy that answers questions.

    Raises PolicyError when the name is unknown or the model takes no video.
    """
    processor = load_processor(name_or_path)
    model = load_model(name_or_path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return QwenPolicy(model.to(device), processor, max_new_tokens)
