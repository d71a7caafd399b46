"""Puzzles drawn and looked at: a seeded few of each kind, against the clip they were cut from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from videossr.gates.edits import videos_used
from videossr.gates.tables import GateContext, StoredFrames, derived_answer, edit_fault
from videossr.records import Sample

_COLUMNS = ("sample_id", "set", "kind", "video_id", "clips", "difference")


def renders_table(
    sets: Mapping[str, Sequence[Sample]],
    store: StoredFrames,
    source: GateContext,
    num_each: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row a rendered sample: how many clips it shows, and how much the edit changes what is seen (0..255).

    At most `num_each` of each kind and set are rendered; samples whose edit is at fault are left to their own rule.
    """
    chosen = [(name, sample) for name, samples in sets.items() for sample in _choose(samples, source, num_each, rng)]
    rows = [_rendered(name, sample, store, source) for name, sample in tqdm(chosen, desc="renders", unit="sample")]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _choose(samples: Sequence[Sample], source: GateContext, num_each: int, rng: np.random.Generator) -> list[Sample]:
    by_kind: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_kind[sample.kind].append(sample)
    chosen = []
    for kind in sorted(by_kind):
        order = rng.permutation(len(by_kind[kind]))
        sound = (by_kind[kind][i] for i in order if _renderable(by_kind[kind][i], source))
        chosen += [sample for sample, _ in zip(sound, range(num_each), strict=False)]
    return chosen


def _renderable(sample: Sample, source: GateContext) -> bool:
    return (
        sample.kind in source.kinds
        and all(video in source.times_of for video in videos_used(sample))
        and derived_answer(sample, source) is not None
        and edit_fault(sample, source) is None
    )


def _rendered(name: str, sample: Sample, store: StoredFrames, source: GateContext) -> tuple[object, ...]:
    task = source.tasks[sample.task]
    clips = {video: store[video] for video in videos_used(sample)}  # decoded once, not once a look
    num_clips = len(task.render(sample, clips))
    return sample.sample_id, name, sample.kind, sample.video_id, num_clips, task.perceptibility(sample, clips)
