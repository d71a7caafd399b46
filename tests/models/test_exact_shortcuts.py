"""What this project computes in its own, faster way equals what transformers computes: prompts, positions, patches."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.support import families, tiny_policy
from videossr.clip import Clip
from videossr.models import encode_prompt
from videossr.models.backbone import backbone
from videossr.models.checkpoint import load_model, load_processor
from videossr.models.encode_prompt import encode
from videossr.models.model_inputs import prompt_positions
from videossr.models.patches import PatchProduct
from videossr.models.policy import Prompt

# Frames and sizes (height, width) of the clips of a prompt.
CLIPS = {
    "one clip": [(8, 64, 64)],
    "odd frames": [(5, 32, 64)],
    "sizes differ": [(4, 64, 32), (2, 96, 64), (3, 32, 32)],
    "one frame": [(1, 32, 32)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_policy.write_tiny(tmp_path_factory.mktemp("tiny-random"))


def prompt_of(shapes, seed=0):
    rng = np.random.default_rng(seed)
    clips = [
        Clip(rng.integers(256, size=(*shape, 3), dtype=np.uint8), np.cumsum(rng.uniform(0.04, 1.3, shape[0])))
        for shape in shapes
    ]
    return Prompt("".join(f"Clip {i}: <video>\n" for i in range(len(clips))) + "Order?", tuple(clips))


@pytest.mark.parametrize("shapes", CLIPS.values(), ids=CLIPS)
def test_a_prompt_is_the_processors_bit_for_bit(folder, shapes, monkeypatch):
    processor, prompt = load_processor(folder), prompt_of(shapes)
    mine = encode(processor, prompt)
    monkeypatch.setattr(encode_prompt, "reads_as_patches", lambda processor, clips: False)
    theirs = encode(processor, prompt)
    for field in dataclasses.fields(mine):
        one, other = getattr(mine, field.name), getattr(theirs, field.name)
        assert one is other is None or (one.dtype == other.dtype and torch.equal(one, other)), field.name


def test_other_means_and_deviations_of_the_processor_are_kept(folder, monkeypatch):
    processor, prompt = load_processor(folder), prompt_of([(4, 32, 32)])
    processor.video_processor.image_mean, processor.video_processor.image_std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    mine = encode(processor, prompt).pixel_values_videos
    monkeypatch.setattr(encode_prompt, "reads_as_patches", lambda processor, clips: False)
    assert torch.equal(mine, encode(processor, prompt).pixel_values_videos)


def test_a_text_that_names_a_video_token_is_left_to_the_processor(folder):
    processor = load_processor(folder)
    with pytest.raises(ValueError):
        encode(processor, Prompt("<video> and <|video_pad|>?", prompt_of([(2, 32, 32)]).clips))


@pytest.mark.parametrize("family", ["qwen3_vl", *families.FAMILIES])
def test_positions_are_the_models_own(family, tmp_path):
    folder = families.write_family(family, tmp_path)
    model, processor = load_model(folder, "float32"), load_processor(folder)
    for shapes in ([(6, 64, 64)], [(4, 96, 64), (4, 64, 96), (2, 64, 64)]):
        encoded = encode(processor, prompt_of(shapes))
        seconds = {} if encoded.second_per_grid_ts is None else {"second_per_grid_ts": encoded.second_per_grid_ts}
        theirs, _ = backbone(model).get_rope_index(
            encoded.input_ids[None],
            mm_token_type_ids=encoded.mm_token_type_ids[None],
            video_grid_thw=encoded.video_grid_thw,
            **seconds,
        )
        mine = prompt_positions(model, encoded)
        assert torch.equal(mine[1:], theirs[:, 0]) and torch.equal(mine[0], torch.arange(len(encoded)))


def test_the_positions_of_a_prompt_without_clips_count_its_tokens(folder):
    model, processor = load_model(folder, "float32"), load_processor(folder)
    encoded = encode(processor, Prompt("How many?", ()))
    assert torch.equal(prompt_positions(model, encoded), torch.arange(len(encoded)).expand(4, -1))


def test_the_patch_product_equals_the_convolution(folder):
    model = load_model(folder, "float32").double()
    product = backbone(model).visual.patch_embed.proj
    assert type(product) is PatchProduct
    convolution = torch.nn.Conv3d(3, product.out_channels, product.kernel_size, product.stride).double()
    convolution.load_state_dict(product.state_dict())
    patches = torch.randn(7, 3, *product.kernel_size, dtype=torch.float64)
    outputs = product(patches), convolution(patches)
    assert outputs[0].shape == outputs[1].shape and torch.allclose(*outputs, rtol=0, atol=1e-12)
    for out in outputs:
        out.square().sum().backward()
    assert torch.allclose(product.weight.grad, convolution.weight.grad, rtol=0, atol=1e-9)
