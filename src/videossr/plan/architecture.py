"""The sizes of a policy, read from the model itself, built on the meta device: shapes without a single weight."""

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
from videossr.models.model_inputs import backbone
from videossr.models.tiny_random import TinyRandomParams, write_tiny_random
from videossr.train.params import TINY_RANDOM, LoraParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """The language model. `linear` counts the weights that every token is multiplied by, `head` those of the output."""

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
class Vision:
    """The vision tower.

    A patch is multiplied by the weights of the `embedding` and by those of the layers (`linear`), a visual token by
    those of the `merger`.

    `window` is the side of an attention window in patches in all but `full_layers` layers; 0 where every layer sees a
    whole time slice. `writes_times` tells whether the prompt names the seconds of every slice.
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
    """A policy by its sizes; `parameters` counts tied weights once."""

    name: str
    text: Text
    vision: Vision

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.vision.parameters


def meta_model(policy: str, tiny_random: TinyRandomParams, texts: Iterable[str]) -> Any:
    """The model named `policy` on the meta device: a folder or a cached name, else one of `known()`, or `tiny-random`.

    `tiny_random` and `texts` say what a tiny random policy is made of. Raises PolicyError for a name that nothing is known of.
    """
    if policy == TINY_RANDOM:
        with tempfile.TemporaryDirectory() as folder:
            write_tiny_random(tiny_random, texts, 0, Path(folder))
            config = AutoConfig.from_pretrained(folder)
    else:
        config = _config(policy)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def known() -> dict[str, dict[str, Any]]:
    """Architectures that are shipped with the project, by the name of their checkpoint."""
    text = resources.files("videossr.plan").joinpath("architectures.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _config(policy: str) -> Any:
    try:
        return AutoConfig.from_pretrained(policy, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        log.info("%s is not on this machine: planning with the sizes shipped for it", policy)
    shipped = known()
    if policy not in shipped:
        raise PolicyError(
            f"no sizes are known of '{policy}': give a folder with its config.json, or one of {', '.join(shipped)}"
        )
    fields = {key: value for key, value in shipped[policy].items() if key not in ("published_billions", "model_type")}
    return AutoConfig.for_model(shipped[policy]["model_type"], **fields)


def measure(model: Any, name: str) -> Architecture:
    """Read the sizes of a Qwen-VL model off its modules, on whatever device they are."""
    base, config = backbone(model), model.config
    vision = _vision(base.visual, config.vision_config, config.model_type)
    total = sum(parameter.numel() for parameter in model.parameters())
    text = config.text_config
    linear = _linear(base.language_model.modules())
    heads = text.num_attention_heads
    return Architecture(
        name,
        Text(
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            inner_width=text.intermediate_size,
            heads=heads,
            kv_heads=text.num_key_value_heads,
            head_width=getattr(text, "head_dim", None) or text.hidden_size // heads,
            parameters=total - vision.parameters,
            linear=linear,
            head=model.get_output_embeddings().weight.numel(),
        ),
        vision,
    )


def _vision(tower: Any, config: Any, model_type: str) -> Vision:
    mergers = [module for name, module in tower.named_modules() if "merger" in name]
    full = getattr(config, "fullatt_block_indexes", None)
    return Vision(
        layers=config.depth,
        width=config.hidden_size,
        inner_width=config.intermediate_size,
        patch_pixels=config.patch_size,
        slice_frames=config.temporal_patch_size,
        merge=config.spatial_merge_size,
        mergers=1 + len(getattr(config, "deepstack_visual_indexes", ())),
        parameters=sum(parameter.numel() for parameter in tower.parameters()),
        embedding=_linear([tower.patch_embed.proj]),
        linear=_linear(tower.blocks.modules()),
        merger=_linear(mergers),
        window=config.window_size // config.patch_size if full else 0,
        full_layers=len(full) if full else config.depth,
        writes_times=model_type.startswith("qwen3"),
    )


def _linear(modules: Iterable[Any]) -> int:
    kinds = (torch.nn.Linear, torch.nn.Conv3d)
    return sum(module.weight.numel() for module in modules if isinstance(module, kinds))


def lora_parameters(model: Any, lora: LoraParams) -> int:
    """Weights of the adapters that `lora` puts beside the linear layers of the language model."""
    named = backbone(model).language_model.named_modules()
    adapted = [module for name, module in named if name.rpartition(".")[2] in lora.targets]
    return sum(lora.rank * (module.in_features + module.out_features) for module in adapted)
