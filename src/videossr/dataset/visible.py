"""Draw questions again whose edit cannot be seen: a mirrored symmetric picture, clips of a video that stands still.

Nobody can answer such a question from the video. It is drawn again from other places of the same video and then from
other videos, so that few unsuitable videos do not make a benchmark that the gate must refuse.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from videossr.dataset.differences import Differences, identity
from videossr.dataset.draws import rng_of
from videossr.dataset.params import PretextParams
from videossr.records import FrameTimes, Sample

log = logging.getLogger(__name__)

_PLACES = 8  # draws from the same video, then one from each of at most as many others


def redraw_invisible(
    params: PretextParams, samples: Sequence[Sample], videos: Sequence[FrameTimes], differences: Differences
) -> list[Sample]:
    """`samples` with each invisible one replaced, under its id; it stays where no draw can be seen.

    A sample is invisible where its difference is below `pretext.viubench.min_difference`. `videos` are those that the
    set may use, sorted by id. All invisible samples are drawn again together, once a round, in at most 16 rounds.
    """
    least, result = params.viubench.min_difference, list(samples)
    invisible = [i for i, value in enumerate(differences.measure(samples, "visible edits")) if value < least]
    sources = {i: _sources(params, samples[i], videos) for i in invisible}
    donors = [video.video_id for video in videos]
    used, waiting = set(map(identity, samples)), invisible
    for attempt in range(max((len(of_sample) for of_sample in sources.values()), default=0)):
        drawn = {i: _draw(params, samples[i], sources[i][attempt], donors, attempt) for i in waiting}
        new = {i: sample for i, sample in drawn.items() if identity(sample) not in used}
        measured = differences.measure(list(new.values()), f"drawn again, round {attempt + 1}") if new else []
        for (i, sample), difference in zip(new.items(), measured, strict=True):
            if difference >= least and identity(sample) not in used:
                result[i] = sample
                used.add(identity(sample))
        waiting = [i for i in waiting if result[i] is samples[i]]
    _report(samples, result, invisible)
    return result


def _sources(params: PretextParams, sample: Sample, videos: Sequence[FrameTimes]) -> list[FrameTimes]:
    """The video of each attempt: the sample's own at first, then others in an order of this sample."""
    (own,) = (video for video in videos if video.video_id == sample.video_id)
    order = rng_of(params.seed, sample.sample_id, "videos").permutation(len(videos))
    others = (videos[i] for i in order if videos[i] is not own)
    return [own] * _PLACES + list(islice(others, _PLACES))


def _draw(params: PretextParams, sample: Sample, video: FrameTimes, donors: Sequence[str], attempt: int) -> Sample:
    rng = rng_of(params.seed, sample.sample_id, "visible", video.video_id, attempt)
    drawn = params.tasks[sample.task].generate(video, sample.variant, rng, donors)
    return replace(drawn, sample_id=sample.sample_id)


def _report(samples: Sequence[Sample], result: Sequence[Sample], invisible: Sequence[int]) -> None:
    if not invisible:
        return
    drawn = [i for i in invisible if result[i] is not samples[i]]
    moved = sum(result[i].video_id != samples[i].video_id for i in drawn)
    log.warning(
        "%d of %d questions could not be answered from the video: %d were drawn again, %d of them from another video",
        len(invisible),
        len(samples),
        len(drawn),
        moved,
    )
