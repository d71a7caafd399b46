"""The benchmarks of the data path: the videos that they write, and how they summarise measurements."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.comparisons import QUICK, _compare_clip, median_row
from bench.many_videos import MemorySample, sample_memory, summarise_memory
from bench.measure import alternate
from bench.videos import copy_with_other_hash, write_noisy_video, write_repeated
from tests.support.ingesting import ingest_source
from tests.support.videos import read_number, write_video
from videossr.decode import decode, presentation_times
from videossr.frames.encoding import EncodedVideo, encode_video
from videossr.frames.sampling import FramesParams
from videossr.ingest.params import IngestParams


def test_a_copy_with_another_hash_shows_the_same_frames(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4")
    copy = copy_with_other_hash(source, tmp_path / "b.mp4", 7)
    assert copy.read_bytes() != source.read_bytes()
    times = presentation_times(copy)
    clip = decode(copy, times[[3, 70]], size=(64, 96))
    assert len(times) == 80 and [read_number(frame) for frame in clip.frames] == [3, 70]


def test_a_written_video_is_ingested_and_repeats_without_a_gap(tmp_path: Path) -> None:
    clip = write_noisy_video(tmp_path / "clip.mp4", 2, 64, 96)
    long = write_repeated(clip, tmp_path / "long.mp4", 3)
    np.testing.assert_allclose(presentation_times(long), np.arange(180) / 30, atol=1e-6)
    inventory = ingest_source(IngestParams(str(tmp_path)), tmp_path / "made", 0)
    encoded = [encode_video(video, FramesParams(max_pixels=4096, min_pixels=1024)) for video in inventory.videos]
    assert len(encoded) == 2 and all(isinstance(result, EncodedVideo) for result in encoded)


def test_both_sides_alternate_and_the_side_that_starts_changes() -> None:
    order: list[str] = []
    ours, theirs = alternate(partial(order.append, "ours"), partial(order.append, "theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(ours) == len(theirs) == 3


def test_a_row_has_medians_and_the_spread_of_the_ratio() -> None:
    row = median_row("name", [1.0, 2.0, 9.0], [4.0, 6.0, 9.0], "seconds")
    assert (row.ours, row.theirs, row.ratio) == (2.0, 6.0, 3.0)
    assert row.unit == "seconds; 3 rounds, 1 to 4 times"


def test_growth_is_measured_over_the_second_half() -> None:
    samples = [
        MemorySample(n, 100 + (50 if n < 500 else 0) + n * 0.002, [60.0, 61.0] if n % 7 else [60.0])
        for n in range(1, 1001)
    ]
    *rows, growth = summarise_memory("ingest", samples, 1000)
    assert [row["videos"] for row in rows] == list(range(100, 1001, 100))
    assert growth["parent_mb_per_1000_videos"] == pytest.approx(2) and growth["worker_mb_per_1000_videos"] == 0


def test_memory_is_sampled_while_work_runs(tmp_path: Path) -> None:
    clip = write_noisy_video(tmp_path / "clip.mp4", 2, 64, 96)
    for number in range(12):
        copy_with_other_hash(clip, tmp_path / f"{number}.mp4", number)
    inventory, samples = sample_memory(partial(ingest_source, IngestParams(str(tmp_path)), tmp_path / "made", 2))
    assert len(inventory.videos) == 13
    assert all(sample.parent > 20 for sample in samples)


def test_every_row_of_one_video_compares_the_same_work(tmp_path: Path) -> None:
    source = tmp_path / "720p"
    write_noisy_video(source / "2s.mp4", 2, 64, 96)
    rows = list(_compare_clip(source, tmp_path, QUICK))
    assert [row.name for row in rows] == ["ingest_60s", "worker_memory", "ingest_60s_floor", "ingest_60s_checked"]
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)
