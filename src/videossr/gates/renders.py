"""Rendered samples: some of each kind, chosen at random, compared with their unedited clips."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from videossr.gates.edit_rules import videos_used
from videossr.gates.tables import GateContext, StoredFrames, derived_answer, edit_fault
from videossr.records import Sample

_COLUMNS = ("sample_id", "set", "kind", "video_id", "num_clips", "difference")


def renders_table(
    sets: Mapping[str, Sequence[Sample]],
    store: StoredFrames,
    context: GateContext,
    num_each: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row per rendered sample: the number of its clips, and the visible difference of its edit (0..255).

    At most `num_each` samples of each kind and set are rendered. Samples with a faulty edit are not: other rules report
    them.
    """
    chosen = [(name, sample) for name, samples in sets.items() for sample in _choose(samples, context, num_each, rng)]
    rows = [_render_row(name, sample, store, context) for name, sample in tqdm(chosen, desc="renders", unit="sample")]
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


def _render_row(name: str, sample: Sample, store: StoredFrames, context: GateContext) -> tuple[object, ...]:
    task = context.tasks[sample.task]
    clips = {video: store[video] for video in videos_used(sample)}  # read once for both renderings
    num_clips = len(task.render(sample, clips))
    return sample.sample_id, name, sample.kind, sample.video_id, num_clips, task.perceptibility(sample, clips)
