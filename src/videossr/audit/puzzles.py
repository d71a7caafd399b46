"""How the probe plays each task: what it chooses between, by which features, and how a choice becomes a reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videossr import rewards
from videossr.audit.features import ShownSample
from videossr.audit.probe import Choice
from videossr.pretext import Counting, Grounding, PretextTask
from videossr.pretext.grounding import append_end
from videossr.records import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ProbePuzzle:
    """A sample as choices, and the reply to be given once the probabilities of their alternatives are known."""

    sample: Sample
    choices: list[Choice]
    reply: Callable[[Sequence[Floats]], str]


def posed(task: PretextTask, shown: Sequence[ShownSample]) -> list[ProbePuzzle]:
    """Samples of one kind, as they are shown, as puzzles for the probe."""
    if isinstance(task, Grounding):
        return [_interval(task, item) for item in shown]
    if isinstance(task, Counting):
        return _counts(shown)
    return [_order(item) for item in shown]


def standardised(statistics: Floats) -> Floats:
    """Each statistic [T, D] relative to the clip's median, in units of its usual deviation, kept within 8 of them."""
    deviations = statistics - np.median(statistics, axis=0)
    usual = np.median(np.abs(deviations), axis=0)
    # Rounding must not count where a statistic does not move at all.
    floor = 1e-5 * (1 + np.abs(statistics).max(axis=0))
    return np.clip(deviations / (1.4826 * usual + floor), -8, 8)


def _interval(task: Grounding, shown: ShownSample) -> ProbePuzzle:
    sample, frames = shown.sample, standardised(shown.statistics[0])
    spans = [
        (start, start + length)
        for length in range(task.min_length, task.max_length + 1)
        for start in range(0, task.num_frames - length + 1)
        if start % task.align == length % task.align == 0
    ]
    lengths = np.array([end - start for start, end in spans])
    same_length = np.array([(lengths == length).sum() for length in lengths])
    right = spans.index((sample.edit["start"], sample.edit["start"] + sample.edit["length"]))
    choice = Choice(contrasts(frames, spans), -np.log(same_length), right, sample.video_id)
    bounds = append_end(shown.times)

    def reply(found: Sequence[Floats]) -> str:
        start, end = _best_span(spans, found[0], task.num_frames)
        return f"{bounds[start]:.1f}-{bounds[end]:.1f}"

    return ProbePuzzle(sample, [choice], reply)


def contrasts(frames: Floats, spans: Sequence[tuple[int, int]]) -> Floats:
    """What sets an interval apart, [spans, 2 D]: its mean against all other frames, and against two on either side.

    The order of the frames inside makes no difference: it would be the shuffle itself.
    """
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0)])
    starts, ends = np.array(spans).T
    before, after = np.maximum(starts - 2, 0), np.minimum(ends + 2, len(frames))
    size, beside = (ends - starts)[:, None], (starts - before + after - ends)[:, None]
    inside = sums[ends] - sums[starts]
    outside = (sums[-1] - inside) / (len(frames) - size)
    near = (sums[after] - sums[before] - inside) / beside
    certainty = np.sqrt(size * (len(frames) - size) / len(frames))
    return np.concatenate([(inside / size - outside) * certainty, inside / size - near], axis=1)


def _best_span(spans: Sequence[tuple[int, int]], found: Floats, num_frames: int) -> tuple[int, int]:
    """Of all intervals, the one that overlaps best with what is believed."""
    starts, ends = np.array(spans).T
    firsts, lasts = np.triu_indices(num_frames + 1, k=1)
    overlap = np.minimum(lasts[:, None], ends) - np.maximum(firsts[:, None], starts)
    union = np.maximum(lasts[:, None], ends) - np.minimum(firsts[:, None], starts)
    best = int(np.argmax(np.clip(overlap, 0, None) / union @ found))
    return int(firsts[best]), int(lasts[best])


def _counts(shown: Sequence[ShownSample]) -> list[ProbePuzzle]:
    """Three choices a sample, one a shape: how often the alternatives are right at all is known beforehand."""
    answers = np.array(
        [[int(count) for count in sample.answer.split(",")] for sample in (item.sample for item in shown)]
    )
    counts = np.arange(answers.max() + 1)
    prior = np.log(np.bincount(answers.ravel(), minlength=len(counts)) + 0.5)
    pay = np.array([[_closeness(said, true) for true in counts] for said in counts])
    powers = np.stack([counts / counts[-1], np.square(counts / counts[-1])])

    def reply(found: Sequence[Floats]) -> str:
        return ",".join(str(int(np.argmax(pay @ one))) for one in found)

    puzzles = []
    for item, right in zip(shown, answers, strict=True):
        unrest = _unrest(item.statistics[0])
        features = np.concatenate([np.outer(power, unrest) for power in powers], axis=1)
        choices = [Choice(features, prior, int(count), item.sample.video_id) for count in right]
        puzzles.append(ProbePuzzle(item.sample, choices, reply))
    return puzzles


def _closeness(said: int, true: int) -> float:
    return rewards.score("counting", f"{said},{said},{said}", f"{true},{true},{true}") if true else float(said == 0)


def _unrest(statistics: Floats) -> Floats:
    """How much frames stand out from the two beside them, [2 D]: on average and at most."""
    jumps = np.abs(statistics[1:-1] - (statistics[:-2] + statistics[2:]) / 2)
    return np.concatenate([jumps.mean(axis=0), jumps.max(axis=0)])


def _order(shown: ShownSample) -> ProbePuzzle:
    """One choice a place: which of the clips that are left plays next."""
    sample, statistics = shown.sample, shown.statistics
    num_clips, frames_per_clip = statistics.shape[:2]
    relative = standardised(statistics.reshape(num_clips * frames_per_clip, -1))
    clips = relative.reshape(num_clips, frames_per_clip, -1).mean(axis=1)
    left, choices = list(range(num_clips)), []
    for digit in sample.answer[:-1]:
        choices.append(Choice(clips[left], np.zeros(len(left)), left.index(int(digit) - 1), sample.video_id))
        left.remove(int(digit) - 1)

    def reply(found: Sequence[Floats]) -> str:
        return "".join(str(place + 1) for place in np.argsort(-found[0], kind="stable"))

    return ProbePuzzle(sample, choices, reply)
