"""The seventeen perturbations: each has the described effect on its whole interval and does not change its input."""

import json

import numpy as np
import pytest

from videossr.pretext.perturbations import PERTURBATIONS

FINE = ["saturation", "noise", "blur", "grayscale", "invert", "channel_swap"]
SPATIAL = ["zoom_in", "zoom_out", "rotate_180", "rotate_90", "rotate_270", "mirror"]
TEMPORAL = ["slow", "fast", "stutter_hold", "shuffle", "swap"]
NAMES = FINE + SPATIAL + TEMPORAL
UNCHANGED = ("slow", "fast", "swap")  # these select other stored frames; `apply` copies the pixels
SHAPES = [(6, 64, 64, 3), (6, 64, 96, 3), (6, 96, 32, 3)]


def random_frames(shape: tuple[int, ...] = (6, 64, 96, 3)) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def perturb(name: str, frames: np.ndarray, seed: int = 0) -> np.ndarray:
    perturbation = PERTURBATIONS[name]
    return perturbation.apply(frames, perturbation.draw_params(np.random.default_rng(seed), len(frames)))


def test_the_table_holds_the_papers_seventeen_perturbations() -> None:
    assert list(PERTURBATIONS) == NAMES
    assert {name: row.name for name, row in PERTURBATIONS.items()} == {name: name for name in NAMES}
    for category, names in (("fine", FINE), ("spatial", SPATIAL), ("temporal", TEMPORAL)):
        assert [name for name, row in PERTURBATIONS.items() if row.category == category] == names


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_dtype_stay_and_the_input_is_not_changed(name: str, shape: tuple[int, ...]) -> None:
    frames = random_frames(shape)
    before = frames.copy()
    after = perturb(name, frames)
    assert after.shape == frames.shape
    assert after.dtype == np.uint8
    assert not np.shares_memory(after, frames)
    assert np.array_equal(frames, before)
    assert np.array_equal(after, frames) == (name in UNCHANGED)


@pytest.mark.parametrize("name", NAMES)
def test_drawn_parameters_are_json_and_determine_the_result(name: str) -> None:
    perturbation, frames = PERTURBATIONS[name], random_frames()
    params = perturbation.draw_params(np.random.default_rng(3), len(frames))
    loaded = json.loads(json.dumps(params))
    assert loaded == params
    assert np.array_equal(perturbation.apply(frames, loaded), perturbation.apply(frames, params))


@pytest.mark.parametrize("name", [name for name in FINE + SPATIAL if name != "noise"])
def test_one_draw_applies_to_every_frame_of_the_interval(name: str) -> None:
    still = np.repeat(random_frames((1, 64, 96, 3)), 5, axis=0)
    after = perturb(name, still)
    assert all(np.array_equal(frame, after[0]) for frame in after)


def test_flips_rotations_and_channel_changes_are_exact() -> None:
    frames = random_frames()
    assert np.array_equal(perturb("mirror", frames), frames[:, :, ::-1])
    assert np.array_equal(perturb("rotate_180", frames), frames[:, ::-1, ::-1])
    assert np.array_equal(perturb("channel_swap", frames), frames[..., ::-1])
    assert np.array_equal(perturb("invert", frames), 255 - frames)
    square = random_frames((4, 64, 64, 3))
    assert np.array_equal(perturb("rotate_90", square), np.rot90(square, 1, axes=(1, 2)))
    assert np.array_equal(perturb("rotate_270", square), np.rot90(square, 3, axes=(1, 2)))


def test_a_quarter_turn_of_a_wide_frame_is_shrunk_onto_black() -> None:
    frames = np.full((2, 64, 128, 3), 200, np.uint8)
    for name in ("rotate_90", "rotate_270"):
        after = perturb(name, frames)
        assert (after[:, :, 48:80] == 200).all()
        assert (after[:, :, :48] == 0).all() and (after[:, :, 80:] == 0).all()


def test_grayscale_removes_colour_and_saturation_doubles_it() -> None:
    frames = np.full((2, 8, 8, 3), (120, 100, 90), np.uint8)
    gray = perturb("grayscale", frames)
    assert (gray == gray[..., :1]).all()
    saturated = perturb("saturation", frames)
    assert np.abs(saturated.astype(int) - (2 * frames.astype(int) - gray)).max() <= 1


def test_noise_is_gaussian_with_the_drawn_sigma() -> None:
    frames = np.full((4, 64, 64, 3), 128, np.uint8)
    params = PERTURBATIONS["noise"].draw_params(np.random.default_rng(0), 4)
    assert 35 <= params["sigma"] <= 70
    noise = PERTURBATIONS["noise"].apply(frames, {**params, "sigma": 35.0}).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=1)
    assert noise.std() == pytest.approx(35, rel=0.03)
    assert not np.array_equal(noise[0], noise[1])


def test_zoom_scales_about_the_centre_by_the_drawn_factor() -> None:
    frames = np.zeros((1, 96, 96, 3), np.uint8)
    frames[:, 36:60, 36:60] = 255
    for name, low, high in (("zoom_in", 1.3, 1.5), ("zoom_out", 1.2, 1.4)):
        params = PERTURBATIONS[name].draw_params(np.random.default_rng(1), 1)
        assert low <= params["factor"] <= high
        after = PERTURBATIONS[name].apply(frames, params)[0, ..., 0].astype(float) / 255
        scale = params["factor"] if name == "zoom_in" else 1 / params["factor"]
        assert np.sqrt(after.sum()) == pytest.approx(24 * scale, rel=0.05)
        centre_row = np.arange(96) @ after.sum(axis=1) / after.sum()
        assert centre_row == pytest.approx(47.5, abs=1)
    assert (perturb("zoom_out", np.full((1, 96, 96, 3), 9, np.uint8))[0, 0] == 0).all()


@pytest.mark.parametrize("length", range(2, 17))
@pytest.mark.parametrize("seed", range(5))
def test_a_shuffle_moves_both_ends_and_keeps_every_frame(length: int, seed: int) -> None:
    order = PERTURBATIONS["shuffle"].draw_params(np.random.default_rng(seed), length)["order"]
    assert sorted(order) == list(range(length))
    assert order[0] != 0 and order[-1] != length - 1


@pytest.mark.parametrize("length", range(2, 17))
@pytest.mark.parametrize("seed", range(5))
def test_a_stutter_shows_each_frame_at_least_twice_and_changes_the_last(length: int, seed: int) -> None:
    order = PERTURBATIONS["stutter_hold"].draw_params(np.random.default_rng(seed), length)["order"]
    runs = [order.count(frame) for frame in sorted(set(order))]
    assert order == sorted(order) and len(order) == length
    assert all(frame <= i for i, frame in enumerate(order))
    assert order[-1] != length - 1
    assert min(runs) >= 2 and max(runs) <= 6
