"""Copies of a video in other bytes, sizes and codecs are found, and are in the same split."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ingesting import ingest_path
from tests.support.videos import write_frames
from videossr.ingest.near_duplicates import MAX_DIFFERENT_BITS, group_near_duplicates
from videossr.ingest.signature import VisualSignature, visual_signature


def assert_copies_in_one_split(tmp_path: Path, num_videos: int) -> None:
    """Files `1-a.mp4` and `1-b.webm` are copies; both splits must have videos."""
    inventory = ingest_path(tmp_path / "source", tmp_path, bench_fraction=0.5)
    splits: dict[str, set[str]] = {}
    for video in inventory.videos:
        splits.setdefault(Path(video.path).name.split("-")[0], set()).add(video.split)
    assert len(inventory.videos) == num_videos and all(len(names) == 1 for names in splits.values())
    assert {next(iter(names)) for names in splits.values()} == {"train", "bench"}


def test_copies_in_other_bytes_are_in_one_split(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        scene = cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (192, 160), interpolation=cv2.INTER_CUBIC)
        kinds = (("a.mp4", (96, 64), "libx264"), ("b.webm", (128, 96), "libvpx"), ("c.mkv", (80, 48), "mpeg4"))
        for name, size, codec in kinds:
            frames = [cv2.resize(scene[t : t + 128, t : t + 150], size) for t in range(30)]
            write_frames(tmp_path / "source" / f"{number}-{name}", frames, codec)
    assert_copies_in_one_split(tmp_path, num_videos=36)


def test_copies_of_a_video_that_begins_black_or_plain_are_in_one_split(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        scene = cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        start, fade, plain = rng.integers(0, 40), rng.integers(5, 40), rng.integers(0, 255, 3) * (number % 2)
        shown = np.clip((np.arange(90) - start) / fade, 0, 1)
        faded = [scene[t // 4 : t // 4 + 56, t // 4 : t // 4 + 72] * w + plain * (1 - w) for t, w in enumerate(shown)]
        for name, size, codec in (
            ("a.mp4", (96, 64), "libx264"),
            ("b.mkv", (80, 64), "mpeg4"),
            ("c.avi", (80, 48), "mpeg4"),
        ):
            frames = [cv2.resize(picture.astype(np.uint8), size) for picture in faded]
            write_frames(tmp_path / "source" / f"{number}-{name}", frames, codec)
    assert_copies_in_one_split(tmp_path, num_videos=15)


def picture(contrast: float, seed: int) -> np.ndarray:
    """uint8 [16, 17] with the standard deviation `contrast`."""
    noise = np.random.default_rng(seed).normal(size=(16, 17))
    return np.round(90 + contrast * (noise - noise.mean()) / noise.std()).astype(np.uint8)


def test_copies_are_found_where_the_contrast_of_a_picture_is_at_a_limit() -> None:
    """Each encoding changes the contrast a little: the signature of one copy has a picture that the other lacks."""
    plain, late = np.full((16, 17), 90, np.uint8), picture(40, 2)
    for limit in (8, 16):
        below, above = ([plain, picture(contrast, 1), late] for contrast in (limit - 0.4, limit + 0.4))
        signatures = [visual_signature(pictures, 5.0) for pictures in (below, above)]
        assert signatures[0] != signatures[1]
        assert group_near_duplicates([visual_signature([late[:, ::-1]], 5.0), *signatures]) == [0, 1, 1]


def test_a_copy_is_found_by_the_faint_picture_or_by_the_first_clear_one() -> None:
    plain, faint, fainter, clear = np.full((16, 17), 90, np.uint8), picture(13, 3), picture(11, 4), picture(25, 5)
    both = visual_signature([plain, faint, fainter, clear, picture(30, 6)], 5.0)
    assert both.bits == visual_signature([faint], 5.0).bits + visual_signature([clear], 5.0).bits
    others = [visual_signature([grey], 5.0) for grey in (faint, clear, fainter)]
    assert group_near_duplicates([both, *others]) == [0, 0, 0, 3]


def test_a_signature_skips_plain_pictures_and_draws_no_more_than_it_needs() -> None:
    plain, first = np.full((16, 17), 90, np.uint8), np.arange(272, dtype=np.uint8).reshape(16, 17)

    def pictures() -> Iterator[np.ndarray]:
        yield from (plain, first)
        raise AssertionError("this picture is not needed")

    assert visual_signature([plain, plain], 5.0) == VisualSignature(b"", 5.0)
    assert visual_signature(pictures(), 5.0) == visual_signature([first], 5.0) != VisualSignature(b"", 5.0)


@given(bits=st.sets(st.integers(0, 255), max_size=40), seconds=st.sampled_from([0.0, 0.04, 0.06, 1.0]))
def test_near_duplicates_differ_in_few_bits_and_last_equally_long(bits: set[int], seconds: float) -> None:
    rows = np.random.default_rng(0).integers(0, 2**16, 16).astype(np.uint16)
    changed = rows.copy()
    for bit in bits:
        changed[bit % 16] ^= 1 << bit // 16
    items = [
        VisualSignature(rows.tobytes(), 5.0),
        VisualSignature(b"", 5.0),
        VisualSignature(changed.tobytes(), 5.0 + seconds),
    ]
    is_near_duplicate = len(bits) <= MAX_DIFFERENT_BITS and seconds <= 0.05
    assert group_near_duplicates(items) == [0, 1, 0 if is_near_duplicate else 2]


def test_copies_are_found_among_thousands_with_black_bars_and_thousands_of_copies_are_one_group() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2**16, (6000, 16)).astype(np.uint16)
    rows[:, [0, 1, 14, 15]] = 0
    rows[3000:] = rows[0]
    rows[np.arange(6000), rng.integers(0, 16, 6000)] ^= 1  # no two have equal bits
    rows[1:2000:2] = rows[0:2000:2]
    for change in range(5):
        rows[np.arange(1, 2000, 2), (change + np.arange(1000)) % 16] ^= 1 << change
    groups = group_near_duplicates([VisualSignature(row.tobytes(), 10.0) for row in rows])
    assert groups[2:2000:2] == groups[3:2000:2] == list(range(2, 2000, 2))
    assert groups[2000:3000] == list(range(2000, 3000)) and set(groups[3000:]) == {0}
