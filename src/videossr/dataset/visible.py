"""Draw questions again whose edit cannot be seen: a mirrored symmetric picture, clips of a video that stands still.

Nobody can answer such a question from the video. It is drawn again from other places of the same video and then from
other videos, so that few unsuitable videos do not make a benchmark that the gate must refuse.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from tqdm import tqdm

from videossr.clip import Clip
from videossr.dataset.draws import rng_of
from videossr.dataset.params import PretextParams
from videossr.dataset.samples import canonical_edit
from videossr.parallel import Workers, parallel_map
from videossr.pretext import PretextTask
from videossr.records import FrameTimes, Sample

log = logging.getLogger(__name__)

_PLACES = 8  # draws from the same video, then one from each of at most as many others
_SAMPLES_PER_CHUNK = 16
_MIN_SAMPLES_FOR_WORKERS = 500  # fewer take less time than starting processes


def redraw_invisible(
    params: PretextParams,
    samples: Sequence[Sample],
    videos: Sequence[FrameTimes],
    store: Mapping[str, Clip],
    workers: Workers = 0,
) -> list[Sample]:
    """`samples` with each invisible one replaced, under its id; it stays where no draw can be seen.

    A sample is invisible where its `perceptibility` is below `pretext.viubench.min_difference`. `videos` are those that
    the set may use, sorted by id. `workers` does not change the result.
    """
    least, tasks = params.viubench.min_difference, params.tasks
    chunks = [samples[i : i + _SAMPLES_PER_CHUNK] for i in range(0, len(samples), _SAMPLES_PER_CHUNK)]
    measure = partial(_differences, tasks=tasks, store=store)
    measured = parallel_map(measure, chunks, workers if len(samples) >= _MIN_SAMPLES_FOR_WORKERS else 0)
    bar = tqdm(measured, desc="visible edits", total=len(chunks), unit="chunk", disable=len(chunks) < 2)
    invisible = [i for i, value in enumerate(value for chunk in bar for value in chunk) if value < least]
    result, used = list(samples), {_identity(sample) for sample in samples}
    kept, moved = 0, 0
    for i in invisible:
        other = _draw_visible(params, samples[i], videos, store, used)
        if other is None:
            kept += 1
            continue
        moved += other.video_id != samples[i].video_id
        result[i] = other
        used.add(_identity(other))
    if invisible:
        found = f"{len(invisible) - kept} were drawn again, {moved} of them from another video"
        log.warning("%d of %d questions could not be answered from the video: %s", len(invisible), len(samples), found)
    return result


def _differences(samples: Sequence[Sample], tasks: Mapping[str, PretextTask], store: Mapping[str, Clip]) -> list[float]:
    return [tasks[sample.task].perceptibility(sample, store) for sample in samples]


def _draw_visible(
    params: PretextParams,
    sample: Sample,
    videos: Sequence[FrameTimes],
    store: Mapping[str, Clip],
    used: set[tuple[str, str, str]],
) -> Sample | None:
    """A visible sample of the same kind: from the same video if possible, else from another; None where none is."""
    task, donors = params.tasks[sample.task], [video.video_id for video in videos]
    (own,) = (video for video in videos if video.video_id == sample.video_id)
    order = rng_of(params.seed, sample.sample_id, "videos").permutation(len(videos))
    others = [videos[i] for i in order if videos[i] is not own]
    for attempt, video in enumerate([own] * _PLACES + list(islice(others, _PLACES))):
        rng = rng_of(params.seed, sample.sample_id, "visible", video.video_id, attempt)
        drawn = task.generate(video, sample.variant, rng, donors)
        if _identity(drawn) not in used and task.perceptibility(drawn, store) >= params.viubench.min_difference:
            return replace(drawn, sample_id=sample.sample_id)
    return None


def _identity(sample: Sample) -> tuple[str, str, str]:
    return sample.video_id, sample.kind, canonical_edit(sample)
