"""The benchmark of the data path: what it measures on, and how it sums up."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.comparisons import better
from bench.footage import copy_in_other_bytes, make_clip, repeat
from bench.many_videos import told, watched
from bench.measure import in_turns
from tests.support.videos import read_number, write_video
from videossr.decode import decode, presentation_times
from videossr.frames.encoding import EncodedVideo, encode_video
from videossr.frames.sampling import FramesParams
from videossr.ingest.inventory import ingest
from videossr.ingest.params import IngestParams


def test_a_copy_in_other_bytes_shows_the_same_frames(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4")
    copy = copy_in_other_bytes(source, tmp_path / "b.mp4", 7)
    assert copy.read_bytes() != source.read_bytes()
    times = presentation_times(copy)
    clip = decode(copy, times[[3, 70]], size=(64, 96))
    assert len(times) == 80 and [read_number(frame) for frame in clip.frames] == [3, 70]


def test_footage_is_taken_in_and_repeats_without_a_gap(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 2, 64, 96)
    long = repeat(clip, tmp_path / "long.mp4", 3)
    np.testing.assert_allclose(presentation_times(long), np.arange(180) / 30, atol=1e-6)
    inventory = ingest(IngestParams(str(tmp_path)), tmp_path / "made", 0)
    encoded = [encode_video(video, FramesParams(max_pixels=4096, min_pixels=1024)) for video in inventory.videos]
    assert len(encoded) == 2 and all(isinstance(each, EncodedVideo) for each in encoded)


def test_both_sides_take_turns_and_change_who_begins() -> None:
    order: list[str] = []
    ours, theirs = in_turns(partial(order.append, "ours"), partial(order.append, "theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(ours) == len(theirs) == 3


def test_a_row_is_of_medians_and_tells_the_spread() -> None:
    row = better("name", [1.0, 2.0, 9.0], [4.0, 6.0, 9.0], "seconds")
    assert (row.ours, row.theirs, row.ratio) == (2.0, 6.0, 3.0)
    assert row.unit == "seconds; 3 rounds, 1 to 4 times"


def test_growth_is_read_off_the_second_half() -> None:
    moments = [(n, 100 + (50 if n < 500 else 0) + n * 0.002, [60.0, 61.0]) for n in range(1, 1001)]
    *rows, whole = told("ingest", moments, 1000)
    assert [row["videos"] for row in rows] == list(range(100, 1001, 100))
    assert whole["parent_mb_per_1000_videos"] == pytest.approx(2) and whole["worker_mb_per_1000_videos"] == 0


def test_memory_is_watched_while_work_goes_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 2, 64, 96)
    for number in range(12):
        copy_in_other_bytes(clip, tmp_path / f"{number}.mp4", number)
    inventory, moments = watched(partial(ingest, IngestParams(str(tmp_path)), tmp_path / "made", 2))
    assert len(inventory.videos) == 13
    assert all(parent > 20 for _, parent, _ in moments)
