"""Differences of edits: each video is decoded once for its samples, each sample measured once, also after a kill."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.support.gate_data import MemoryStore, moving_noise
from videossr.clip import Clip
from videossr.dataset.build import build_viubench
from videossr.dataset.differences import Differences
from videossr.dataset.params import BenchSet, PretextParams
from videossr.pretext import Counting, Grounding, Jigsaw
from videossr.records import Sample

PARAMS = PretextParams(
    grounding=Grounding(num_frames=16, min_length=3, max_length=5),
    counting=Counting(num_frames=16, min_gap=2),
    jigsaw=Jigsaw(frames_per_clip_6=4, frames_per_clip_8=2),
    viubench=BenchSet(per_column=30),
)


class Stopped(Exception):
    """The end of a run, as far as it came."""


@dataclass
class CountingStore(MemoryStore):
    """Counts how often each clip is read, and stops after `most` reads."""

    most: int = 10**9
    reads: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, video_id: str) -> Clip:
        if self.reads.total() == self.most:
            raise Stopped
        self.reads[video_id] += 1
        return super().__getitem__(video_id)


def make_store() -> CountingStore:
    rng, store = np.random.default_rng(0), CountingStore()
    store.update({f"{number:016x}": moving_noise(rng) for number in range(3)})
    return store


@pytest.fixture
def samples() -> list[Sample]:
    """270 samples that take three videos in turn."""
    return build_viubench(PARAMS, make_store().frame_times())


def expected(samples: list[Sample]) -> list[float]:
    store = make_store()
    return [PARAMS.tasks[sample.task].perceptibility(sample, store) for sample in samples]


def test_the_values_are_those_of_the_tasks_with_any_number_of_workers(samples: list[Sample]):
    for workers in (0, 2):
        assert Differences(PARAMS.tasks, make_store(), workers).measure(samples, "x") == expected(samples)


def test_a_clip_is_read_once_for_many_samples(samples: list[Sample]):
    store = make_store()
    Differences(PARAMS.tasks, store).measure(samples, "x")
    assert store.reads.total() <= len(samples) / 20 + len(store)


def test_what_was_measured_before_a_stop_is_not_measured_again(samples: list[Sample], tmp_path: Path):
    journal, store = tmp_path / "journal.jsonl", make_store()
    store.most = 5
    with pytest.raises(Stopped):
        Differences(PARAMS.tasks, store, 0, journal).measure(samples, "x")
    with journal.open("a") as file:
        file.write('{"video": "00')  # the kill came in the middle of a line
    again = make_store()
    assert Differences(PARAMS.tasks, again, 0, journal).measure(samples, "x") == expected(samples)
    whole = make_store()
    Differences(PARAMS.tasks, whole).measure(samples, "x")
    assert again.reads.total() == whole.reads.total() - 5
    assert Differences(PARAMS.tasks, {}, 0, journal).measure(samples, "x") == expected(samples)
