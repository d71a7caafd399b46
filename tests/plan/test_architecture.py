"""The sizes read from a model on the meta device are those of the model with weights."""

import pytest
from peft import LoraConfig, get_peft_model

from tests.support import tiny_policy
from videossr.errors import PolicyError
from videossr.models.checkpoint import load_model
from videossr.plan.architecture import count_lora_parameters, meta_model, read_architecture, shipped_architectures
from videossr.train.params import LoraParams


@pytest.mark.parametrize("name", shipped_architectures())
def test_every_shipped_architecture_has_its_published_number_of_parameters(name):
    built = read_architecture(meta_model(name, tiny_policy.TINY, []), name)
    published = shipped_architectures()[name]["published_billions"]
    assert built.parameters / 1e9 == pytest.approx(published, abs=0.005)
    assert built.text.linear + built.text.head < built.text.parameters + built.text.head


def test_parameters_are_counted_as_in_the_model(tiny):
    model, _ = tiny
    architecture = read_architecture(model, "tiny")
    assert architecture.parameters == sum(p.numel() for p in model.parameters())
    assert architecture.vision.parameters == sum(p.numel() for p in model.model.visual.parameters())


def test_a_model_on_the_meta_device_has_the_sizes_of_the_model_with_weights(tmp_path):
    folder = tiny_policy.write_tiny(tmp_path / "policy")
    on_meta = meta_model(str(folder), tiny_policy.TINY, [])
    assert read_architecture(on_meta, "x") == read_architecture(load_model(folder), "x")


def test_lora_parameters_are_counted_as_peft_builds_them(tmp_path):
    model = load_model(tiny_policy.write_tiny(tmp_path / "policy"))
    lora = LoraParams(rank=4)
    counted = count_lora_parameters(model, lora)
    adapted = get_peft_model(model, LoraConfig(r=lora.rank, target_modules=list(lora.targets)))
    assert counted == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_an_unknown_policy_raises_and_the_error_lists_the_shipped_ones():
    with pytest.raises(PolicyError, match="no sizes are known of 'some/model'.*Qwen3-VL-8B"):
        meta_model("some/model", tiny_policy.TINY, [])
