"""The sizes of a policy, read from the modules of a model on the meta device, which has shapes but no weights."""

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForImageTextToText

from videossr.errors import PolicyError
from videossr.models.backbone import backbone
from videossr.models.tiny_random import write_tiny_random
from videossr.models.tiny_random_params import TinyRandomParams
from videossr.train.params import TINY_RANDOM, LoraParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextSizes:
    """The sizes of the language model.

    `inner_width` is the width inside an MLP. `linear` counts the weights that every token is multiplied by, `head` the
    weights of the output layer.
    """

    layers: int
    width: int
    inner_width: int
    heads: int
    kv_heads: int
    head_width: int
    parameters: int
    linear: int
    head: int


@dataclass(frozen=True)
class VisionSizes:
    """The sizes of the vision tower.

    A patch is multiplied by the weights of `embedding` and of the layers (`linear`), a visual token by those of
    `merger`. `slice_frames` counts the frames of one time slice, which share their tokens; `merge` is the side, in
    patches, of the square that becomes one visual token; `mergers` counts the final merger and those of DeepStack.

    `window` is the side of an attention window in patches, in all but `full_layers` layers; it is 0 where every layer
    attends to a whole time slice. `writes_times`: the prompt spells out the seconds of every time slice.
    """

    layers: int
    width: int
    inner_width: int
    patch_pixels: int
    slice_frames: int
    merge: int
    mergers: int
    parameters: int
    embedding: int
    linear: int
    merger: int
    window: int
    full_layers: int
    writes_times: bool


@dataclass(frozen=True)
class Architecture:
    """The sizes of a policy. `parameters` counts tied weights once."""

    name: str
    text: TextSizes
    vision: VisionSizes

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.vision.parameters


def meta_model(policy: str, tiny_random: TinyRandomParams, texts: Iterable[str]) -> Any:
    """Build the model of `policy` on the meta device.

    `policy` is a folder, a name in the local hub cache, a name in `shipped_architectures()`, or `tiny-random`.
    `tiny_random` and `texts` give the sizes and the tokenizer's training texts of the tiny random policy. Raises
    PolicyError when no sizes are known for the name.
    """
    if policy == TINY_RANDOM:
        with tempfile.TemporaryDirectory() as folder:
            write_tiny_random(tiny_random, texts, 0, Path(folder))
            config = AutoConfig.from_pretrained(folder)
    else:
        config = _load_config(policy)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def shipped_architectures() -> dict[str, dict[str, Any]]:
    """Model configurations that come with the package, by the name of their checkpoint."""
    text = resources.files("videossr.plan").joinpath("architectures.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _load_config(policy: str) -> Any:
    try:
        return AutoConfig.from_pretrained(policy, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        log.info("%s is not on this machine: planning with the sizes shipped for it", policy)
    shipped = shipped_architectures()
    if policy not in shipped:
        raise PolicyError(
            f"no sizes are known of '{policy}': give a folder with its config.json, or one of {', '.join(shipped)}"
        )
    fields = {key: value for key, value in shipped[policy].items() if key not in ("published_billions", "model_type")}
    return AutoConfig.for_model(shipped[policy]["model_type"], **fields)


def read_architecture(model: Any, name: str) -> Architecture:
    """Read the sizes of a Qwen-VL model from its modules, on any device."""
    base, config = backbone(model), model.config
    vision = _read_vision(base.visual, config.vision_config, config.model_type)
    total = sum(parameter.numel() for parameter in model.parameters())
    text = config.text_config
    heads = text.num_attention_heads
    return Architecture(
        name,
        TextSizes(
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            inner_width=text.intermediate_size,
            heads=heads,
            kv_heads=text.num_key_value_heads,
            head_width=getattr(text, "head_dim", None) or text.hidden_size // heads,
            parameters=total - vision.parameters,
            linear=_count_linear_weights(base.language_model.modules()),
            head=model.get_output_embeddings().weight.numel(),
        ),
        vision,
    )


def _read_vision(tower: Any, config: Any, model_type: str) -> VisionSizes:
    mergers = [module for name, module in tower.named_modules() if "merger" in name]
    full = getattr(config, "fullatt_block_indexes", None)
    return VisionSizes(
        layers=config.depth,
        width=config.hidden_size,
        inner_width=config.intermediate_size,
        patch_pixels=config.patch_size,
        slice_frames=config.temporal_patch_size,
        merge=config.spatial_merge_size,
        mergers=1 + len(getattr(config, "deepstack_visual_indexes", ())),
        parameters=sum(parameter.numel() for parameter in tower.parameters()),
        embedding=_count_linear_weights([tower.patch_embed.proj]),
        linear=_count_linear_weights(tower.blocks.modules()),
        merger=_count_linear_weights(mergers),
        window=config.window_size // config.patch_size if full else 0,
        full_layers=len(full) if full else config.depth,
        writes_times=model_type.startswith("qwen3"),
    )


def _count_linear_weights(modules: Iterable[Any]) -> int:
    kinds = (torch.nn.Linear, torch.nn.Conv3d)
    return sum(module.weight.numel() for module in modules if isinstance(module, kinds))


def count_lora_parameters(model: Any, lora: LoraParams) -> int:
    """Number of weights in the adapters that `lora` adds to the linear layers of the language model."""
    named = backbone(model).language_model.named_modules()
    adapted = [module for name, module in named if name.rpartition(".")[2] in lora.targets]
    return sum(lora.rank * (module.in_features + module.out_features) for module in adapted)
