"""Rendered samples: a few of each kind, chosen by a seed, compared with their clips before the edit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from videossr.gates.edit_rules import videos_used
from videossr.gates.tables import GateContext, StoredFrames, derived_answer, edit_fault
from videossr.records import Sample

_COLUMNS = ("sample_id", "set", "kind", "video_id", "clips", "difference")


def renders_table(
    sets: Mapping[str, Sequence[Sample]],
    store: StoredFrames,
    context: GateContext,
    num_each: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row a rendered sample: the number of its clips, and how much the edit changes what is seen (0..255).

    At most `num_each` of each kind and set are rendered. A faulty edit is left to its own rule.
    """
    chosen = [(name, sample) for name, samples in sets.items() for sample in _choose(samples, context, num_each, rng)]
    rows = [_rendered(name, sample, store, context) for name, sample in tqdm(chosen, desc="renders", unit="sample")]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _choose(samples: Sequence[Sample], context: GateContext, num_each: int, rng: np.random.Generator) -> list[Sample]:
    by_kind: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_kind[sample.kind].append(sample)
    chosen = []
    for kind in sorted(by_kind):
        order = rng.permutation(len(by_kind[kind]))
        renderable = (by_kind[kind][i] for i in order if _is_renderable(by_kind[kind][i], context))
        chosen += [sample for sample, _ in zip(renderable, range(num_each), strict=False)]
    return chosen


def _is_renderable(sample: Sample, context: GateContext) -> bool:
    return (
        sample.kind in context.kinds
        and all(video in context.times_of for video in videos_used(sample))
        and derived_answer(sample, context) is not None
        and edit_fault(sample, context) is None
    )


def _rendered(name: str, sample: Sample, store: StoredFrames, context: GateContext) -> tuple[object, ...]:
    task = context.tasks[sample.task]
    clips = {video: store[video] for video in videos_used(sample)}  # decoded once for both renderings
    num_clips = len(task.render(sample, clips))
    return sample.sample_id, name, sample.kind, sample.video_id, num_clips, task.perceptibility(sample, clips)
