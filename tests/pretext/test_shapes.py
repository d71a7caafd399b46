"""Circles, squares and triangles: they are visible, do not overlap and keep to the paper's ranges."""

import itertools

import cv2
import numpy as np
import pytest

from videossr.pretext import shapes

GREY = 128
FRAMES = [(64, 64), (64, 96), (192, 320), (320, 192)]


def covered_pixels(shape: dict, height: int, width: int) -> np.ndarray:
    """Which pixels the shape covers by at least half, rim included, bool [H,W]."""
    frame = np.full((height, width, 3), 255, np.uint8)
    shapes.draw(frame, {**shape, "rgb": shapes.RIM_RGB})
    return frame.max(axis=2) < 128


def place_with_seeds(kind: str, count: int, num_seeds: int = 30) -> list[list[dict]]:
    """What `place` returns for each seed; None is dropped."""
    results = [shapes.place(np.random.default_rng(seed), kind, count) for seed in range(num_seeds)]
    return [placed for placed in results if placed is not None]


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_up_to_four_shapes_nearly_always_fit(kind: str) -> None:
    for count in range(1, 4):
        results = place_with_seeds(kind, count)
        assert len(results) == 30 and all(len(placed) == count for placed in results)
    assert len(place_with_seeds(kind, 4, 200)) >= 196


@pytest.mark.parametrize("kind", shapes.KINDS)
@pytest.mark.parametrize(("height", "width"), FRAMES)
def test_drawn_shapes_neither_touch_nor_leave_the_frame(kind: str, height: int, width: int) -> None:
    for placed in place_with_seeds(kind, 4, 12):
        masks = [covered_pixels(shape, height, width) for shape in placed]
        assert not any((one & other).any() for one, other in itertools.combinations(masks, 2))
        union = np.any(masks, axis=0)
        assert cv2.connectedComponents(union.astype(np.uint8), connectivity=4)[0] - 1 == len(placed)
        border = np.concatenate([union[0], union[-1], union[:, 0], union[:, -1]])
        assert not border.any()


def test_too_many_shapes_give_none_and_no_overlap() -> None:
    assert shapes.place(np.random.default_rng(0), "square", 40) is None


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_sizes_positions_and_colours_are_in_the_papers_ranges(kind: str) -> None:
    for shape in itertools.chain.from_iterable(place_with_seeds(kind, 2)):
        assert 0.2 <= shape["size"] <= 0.4
        assert 0.15 <= shape["cx"] <= 0.85 and 0.15 <= shape["cy"] <= 0.85
        assert all(50 <= channel <= 255 for channel in shape["rgb"])


@pytest.mark.parametrize(("kind", "area"), [("circle", np.pi / 4), ("square", 1.0), ("triangle", np.sqrt(3) / 4)])
@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_the_drawn_area_is_the_area_of_the_shape(kind: str, area: float, angle: float) -> None:
    shape = {"kind": kind, "cx": 0.5, "cy": 0.5, "size": 0.4, "angle": angle, "rgb": [255] * 3}
    assert covered_pixels(shape, 256, 320).sum() == pytest.approx(area * (0.4 * 256) ** 2, rel=0.04)


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_a_shape_with_the_colour_of_the_background_shows_its_rim(kind: str) -> None:
    frame = np.full((64, 64, 3), GREY, np.uint8)
    shapes.draw(frame, {"kind": kind, "cx": 0.5, "cy": 0.5, "size": 0.3, "angle": 10.0, "rgb": [GREY] * 3})
    assert (frame < GREY // 2).all(axis=2).sum() >= 20
