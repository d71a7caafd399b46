"""Circles, squares and triangles: they can be seen, told apart and counted."""

import itertools

import cv2
import numpy as np
import pytest

from videossr.pretext import shapes

GREY = 128
FRAMES = [(64, 64), (64, 96), (192, 320), (320, 192)]


def mask(shape: dict, height: int, width: int) -> np.ndarray:
    """The pixels that a shape covers by half or more, rim included."""
    frame = np.full((height, width, 3), 255, np.uint8)
    shapes.draw(frame, {**shape, "rgb": shapes.RIM_RGB})
    return frame.max(axis=2) < 128


def crowds(kind: str, count: int, number: int = 30) -> list[list[dict]]:
    found = [shapes.place(np.random.default_rng(seed), kind, count) for seed in range(number)]
    return [crowd for crowd in found if crowd is not None]


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_up_to_four_shapes_nearly_always_find_room(kind: str) -> None:
    for count in range(1, 4):
        assert all(len(crowd) == count for crowd in crowds(kind, count)) and len(crowds(kind, count)) == 30
    assert len(crowds(kind, 4, 200)) >= 196


@pytest.mark.parametrize("kind", shapes.KINDS)
@pytest.mark.parametrize(("height", "width"), FRAMES)
def test_drawn_shapes_neither_touch_nor_leave_the_frame(kind: str, height: int, width: int) -> None:
    for crowd in crowds(kind, 4, 12):
        masks = [mask(shape, height, width) for shape in crowd]
        assert not any((one & other).any() for one, other in itertools.combinations(masks, 2))
        canvas = np.any(masks, axis=0)
        assert cv2.connectedComponents(canvas.astype(np.uint8), connectivity=4)[0] - 1 == len(crowd)
        edges = np.concatenate([canvas[0], canvas[-1], canvas[:, 0], canvas[:, -1]])
        assert not edges.any()


def test_no_room_is_said_rather_than_overlapped() -> None:
    assert shapes.place(np.random.default_rng(0), "square", 40) is None


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_sizes_places_and_colours_keep_to_the_paper(kind: str) -> None:
    for shape in itertools.chain.from_iterable(crowds(kind, 2)):
        assert 0.2 <= shape["size"] <= 0.4
        assert 0.15 <= shape["cx"] <= 0.85 and 0.15 <= shape["cy"] <= 0.85
        assert all(50 <= channel <= 255 for channel in shape["rgb"])


@pytest.mark.parametrize(("kind", "area"), [("circle", np.pi / 4), ("square", 1.0), ("triangle", np.sqrt(3) / 4)])
@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_the_drawn_area_is_that_of_the_shape(kind: str, area: float, angle: float) -> None:
    shape = {"kind": kind, "cx": 0.5, "cy": 0.5, "size": 0.4, "angle": angle, "rgb": [255] * 3}
    assert mask(shape, 256, 320).sum() == pytest.approx(area * (0.4 * 256) ** 2, rel=0.04)


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_a_shape_of_the_colour_behind_it_still_shows_its_rim(kind: str) -> None:
    frame = np.full((64, 64, 3), GREY, np.uint8)
    shapes.draw(frame, {"kind": kind, "cx": 0.5, "cy": 0.5, "size": 0.3, "angle": 10.0, "rgb": [GREY] * 3})
    assert (frame < GREY // 2).all(axis=2).sum() >= 20
