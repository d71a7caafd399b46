"""`videossr check` and preflight find, before the first frame, what would stop a run hours later."""

import importlib.util
import json

import pytest
import torch
from ruamel.yaml import YAML

from tests.support import ROOT
from tests.support.families import FAMILIES, write_family
from videossr import runnable
from videossr.errors import ConfigError, PolicyError, VideoSSRError
from videossr.models.backbone import backbone
from videossr.models.checkpoint import load_model
from videossr.recipe import load_recipe
from videossr.runnable import LINEAR_LAYERS, require_files_and_libraries


def recipe_with(folder, **changes):
    """The embedded default with changed parameters, read from a file in `folder`: `train__grpo__steps=3`."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for dotted, value in changes.items():
        *parents, name = dotted.split("__")
        section = params
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = value
    YAML(typ="safe").dump(params, folder / "params.yaml")
    return load_recipe(folder / "params.yaml")


LEVELS = [{"settings": {"frames_per_clip_8": 2}, "variant": "8"}, {"settings": {"frames_per_clip_8": 5}}]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train__seed": -1}, "train.seed must be 0..4294967295, got -1"),
        ({"train__seed": 2**32}, "train.seed must be"),
        ({"pretext__seed": -1}, "pretext.seed must be"),
        ({"train__grpo__learning_rate": float("inf")}, "learning_rate must be a finite number, got inf"),
        ({"pretext__train__mixture": {"grounding/mirror": float("nan")}}, "must be a finite number, got nan"),
        ({"train__grpo__max_gradient_norm": 0}, "max_gradient_norm must be above 0, got 0"),
        ({"train__grpo__clip_low": -0.1}, "clip_low must be at least 0, got -0.1"),
        ({"train__grpo__lr_warmup_steps": 250}, "the learning rate is never reached, got 250 and 250"),
        ({"train__lora": {"alpha": 0}}, "alpha must be above 0, got 0"),
        ({"train__tiny_random": {"text_width": 95}}, "text_width must be a multiple of 32, got 95"),
        ({"train__tiny_random": {"vocabulary": 10}}, "vocabulary must be at least 263, got 10"),
        ({"train__grpo__prompts_per_step": 64, "pretext__train__num_samples": 48}, "got 48 and 64"),
        ({"frames__num_frames": 16}, "variant 6: frames.num_frames must be a multiple .* 16 stored and 12 shown"),
        ({"train__curriculum": {"levels": {"jigsaw": LEVELS}}}, r"levels.jigsaw\[1\]: .* got 48 stored and 40 shown"),
        ({"train__curriculum": {"levels": {"jigsaw": [{"variant": "5"}, {}]}}}, "has no variant '5'"),
        ({"train__curriculum": {"levels": {"counting": [{"settings": {"gap": 1}}, {}]}}}, "has no parameter 'gap'"),
    ],
)
def test_parameters_that_do_not_fit_each_other_are_refused_when_they_are_read(tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        recipe_with(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"policy": "/models/Qwen3-VL-8B-Instrct"}, "there is no folder /models/Qwen3-VL-8B-Instrct"),
        ({"policy": "checkpoints/qwen"}, "there is no folder checkpoints/qwen"),
        ({"policy": "Qwen//x"}, "there is no folder Qwen//x"),
        ({"policy": "checkpoints"}, "checkpoints has no config.json"),
        ({"policy": ""}, "has no config.json"),
        ({"policy": "words.yaml"}, "words.yaml is a file"),
        ({"accelerate": "ds.yaml", "grpo__prompts_per_forward": 4, "processes": 2}, "there is no ds.yaml"),
        ({"accelerate": "words.yaml"}, "words.yaml is none"),
        ({"accelerate": "no_type.yaml"}, "no_type.yaml is none: write one with `accelerate config"),
        ({"lora": {"targets": ["c_attn"]}}, "c_attn match none: choose among q_proj"),
        ({"lora": {"targets": ["c_attn"]}, "policy": "Qwen/Qwen3-VL-8B-Instruct"}, "match none"),
        ({"lora": {"targets": ["in_proj_qkv"]}}, "in_proj_qkv match none"),
        ({"lora": {"targets": ["q_proj", "v_porj"]}}, "v_porj match none"),
    ],
)
def test_a_missing_file_or_layer_is_found_before_the_first_frame(tmp_path, monkeypatch, changes, sentence):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "words.yaml").write_text("only words")
    (tmp_path / "no_type.yaml").write_text("num_processes: 2")
    recipe = recipe_with(tmp_path, **{f"train__{name}": value for name, value in changes.items()})
    with pytest.raises(VideoSSRError, match=sentence):
        require_files_and_libraries(recipe, tmp_path)


def test_an_optimizer_whose_library_is_not_installed_is_refused(tmp_path):
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(ConfigError, match="needs the library bitsandbytes, which is not installed"):
        require_files_and_libraries(recipe_with(tmp_path, train__grpo__optimizer="paged_adamw_8bit"), tmp_path)


def test_a_model_that_is_not_on_this_machine_is_refused_only_where_it_cannot_be_downloaded(tmp_path, monkeypatch):
    recipe = recipe_with(tmp_path, train__policy="Nobody/Has-This-Model")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    require_files_and_libraries(recipe, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PolicyError, match="there is no folder Nobody/Has-This-Model"):
        require_files_and_libraries(recipe, tmp_path)


def test_a_run_that_can_start_passes(tmp_path):
    write_checkpoint(tmp_path / "base", "qwen3_5")
    write_adapters(tmp_path / "adapters", base="../base")
    for changes in (
        {},
        {"train__policy": "base", "train__lora": {"targets": ["in_proj_qkv"]}},
        {"train__policy": "adapters", "train__lora": {"targets": ["in_proj_qkv"]}},
    ):
        require_files_and_libraries(recipe_with(tmp_path, **changes), tmp_path)


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, missing):
    write_checkpoint(tmp_path / "base", "qwen3_vl")
    (tmp_path / "base" / missing).unlink()
    with pytest.raises(PolicyError, match="must be a whole checkpoint, base lacks its "):
        require_files_and_libraries(recipe_with(tmp_path, train__policy="base"), tmp_path)


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("/nowhere/base", "the base of the adapters adapters must be .* there is no folder /nowhere/base"),
        ("", "must name adapters with a base, adapters/adapter_config.json names none"),
        (".", "must name adapters with a base"),
        ("../words", "the base of the adapters adapters must be a model of text and video"),
    ],
)
def test_adapters_whose_base_is_missing_are_refused(tmp_path, base, sentence):
    write_adapters(tmp_path / "adapters", base=base)
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(PolicyError, match=sentence):
        require_files_and_libraries(recipe_with(tmp_path, train__policy="adapters"), tmp_path)


def write_checkpoint(folder, model_type):
    """The files of a checkpoint, of which only config.json has content."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "vision_config": {}}))
    for name in ("model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        (folder / name).touch()


def write_adapters(folder, base):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))


@pytest.mark.parametrize("family", ["qwen3_vl", *FAMILIES])
def test_the_layers_that_adapters_can_name_are_those_of_the_models(tmp_path, family):
    model = load_model(write_family(family, tmp_path))
    named = backbone(model).language_model.named_modules()
    layers = {name.rpartition(".")[2] for name, module in named if isinstance(module, torch.nn.Linear)}
    assert set(LINEAR_LAYERS[model.config.model_type]) == layers


def test_every_shipped_architecture_has_its_layers():
    shipped = YAML(typ="safe").load(ROOT / "src/videossr/plan/architectures.yaml")
    assert {model["model_type"] for model in shipped.values()} <= set(runnable.LINEAR_LAYERS)
