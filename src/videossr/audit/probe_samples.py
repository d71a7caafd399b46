"""Samples in the form that the probe reads: alternatives, their features, and the reply that follows from a choice."""

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
Interval = tuple[int, int]  # first frame, and the frame after the last


@dataclass(frozen=True)
class ProbeSample:
    """A sample as one or more choices.

    `reply(probabilities)` returns the text of the reply, given the probabilities [A] of the alternatives of each
    choice.
    """

    sample: Sample
    choices: list[Choice]
    reply: Callable[[Sequence[Floats]], str]


def build_probe_samples(task: PretextTask, shown: Sequence[ShownSample]) -> list[ProbeSample]:
    """Convert samples of one kind, in order."""
    if isinstance(task, Grounding):
        return [_grounding_sample(task, item) for item in shown]
    if isinstance(task, Counting):
        return _counting_samples(shown)
    return [_jigsaw_sample(item) for item in shown]


def _standardise(statistics: Floats) -> Floats:
    """Statistics [T, D] minus the clip's median, in units of their typical deviation, clipped to -8..8."""
    deviations = statistics - np.median(statistics, axis=0)
    typical = np.median(np.abs(deviations), axis=0)
    # Rounding errors of a constant statistic must not count.
    floor = 1e-5 * (1 + np.abs(statistics).max(axis=0))
    # 1.4826 times the median absolute deviation is the standard deviation of normal data.
    return np.clip(deviations / (1.4826 * typical + floor), -8, 8)


def _grounding_sample(task: Grounding, shown: ShownSample) -> ProbeSample:
    """One choice: the edited interval, among all intervals that the task can draw."""
    sample, frames = shown.sample, _standardise(shown.statistics[0])
    intervals = [
        (start, start + length)
        for length in range(task.min_length, task.max_length + 1)
        for start in range(0, task.num_frames - length + 1)
        if start % task.align == length % task.align == 0
    ]
    lengths = np.array([end - start for start, end in intervals])
    # The task draws the length uniformly, then the start: each interval shares the probability of its length.
    num_same_length = np.array([(lengths == length).sum() for length in lengths])
    right = intervals.index((sample.edit["start"], sample.edit["start"] + sample.edit["length"]))
    choice = Choice(_contrasts(frames, intervals), -np.log(num_same_length), right, sample.video_id)
    edges = append_end(shown.times)

    def reply(probabilities: Sequence[Floats]) -> str:
        start, end = _best_interval(intervals, probabilities[0], task.num_frames)
        return f"{edges[start]:.1f}-{edges[end]:.1f}"

    return ProbeSample(sample, [choice], reply)


def _contrasts(frames: Floats, intervals: Sequence[Interval]) -> Floats:
    """Features [intervals, 2 D] of statistics [T, D]: the mean inside an interval minus the mean outside.

    The first D compare with all other frames and are scaled to equal variance; the last D compare with the two frames
    on either side. The order of the frames inside has no influence: it would show the shuffle itself.
    """
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0)])
    starts, ends = np.array(intervals).T
    before, after = np.maximum(starts - 2, 0), np.minimum(ends + 2, len(frames))
    size, num_near = (ends - starts)[:, None], (starts - before + after - ends)[:, None]
    inside = sums[ends] - sums[starts]
    outside = (sums[-1] - inside) / (len(frames) - size)
    near = (sums[after] - sums[before] - inside) / num_near
    scale = np.sqrt(size * (len(frames) - size) / len(frames))
    return np.concatenate([(inside / size - outside) * scale, inside / size - near], axis=1)


def _best_interval(intervals: Sequence[Interval], probabilities: Floats, num_frames: int) -> Interval:
    """Of all intervals of frames, the one with the highest expected IoU under `probabilities` of `intervals`."""
    starts, ends = np.array(intervals).T
    firsts, lasts = np.triu_indices(num_frames + 1, k=1)
    overlap = np.minimum(lasts[:, None], ends) - np.maximum(firsts[:, None], starts)
    union = np.maximum(lasts[:, None], ends) - np.minimum(firsts[:, None], starts)
    best = int(np.argmax(np.clip(overlap, 0, None) / union @ probabilities))
    return int(firsts[best]), int(lasts[best])


def _counting_samples(shown: Sequence[ShownSample]) -> list[ProbeSample]:
    """Three choices per sample: the count of each shape. The prior is the frequency of each count over all samples."""
    answers = np.array([[int(count) for count in item.sample.answer.split(",")] for item in shown])
    counts = np.arange(answers.max() + 1)
    prior = np.log(np.bincount(answers.ravel(), minlength=len(counts)) + 0.5)
    reward_table = np.array([[_count_reward(replied, right) for right in counts] for replied in counts])
    powers = np.stack([counts / counts[-1], np.square(counts / counts[-1])])

    def reply(probabilities: Sequence[Floats]) -> str:
        return ",".join(str(int(np.argmax(reward_table @ of_shape))) for of_shape in probabilities)

    probe_samples = []
    for item, right_counts in zip(shown, answers, strict=True):
        jumps = _jumps(item.statistics[0])
        features = np.concatenate([np.outer(power, jumps) for power in powers], axis=1)
        choices = [Choice(features, prior, int(count), item.sample.video_id) for count in right_counts]
        probe_samples.append(ProbeSample(item.sample, choices, reply))
    return probe_samples


def _count_reward(replied: int, right: int) -> float:
    if right == 0:
        return float(replied == 0)
    return rewards.score("counting", f"{replied},{replied},{replied}", f"{right},{right},{right}")


def _jumps(statistics: Floats) -> Floats:
    """Mean and maximum [2 D] over the frames of their distance to the mean of the two adjacent frames."""
    distances = np.abs(statistics[1:-1] - (statistics[:-2] + statistics[2:]) / 2)
    return np.concatenate([distances.mean(axis=0), distances.max(axis=0)])


def _jigsaw_sample(shown: ShownSample) -> ProbeSample:
    """One choice for each position but the last: which of the remaining clips plays next."""
    sample, statistics = shown.sample, shown.statistics
    num_clips, frames_per_clip = statistics.shape[:2]
    frames = _standardise(statistics.reshape(num_clips * frames_per_clip, -1))
    clips = frames.reshape(num_clips, frames_per_clip, -1).mean(axis=1)
    remaining, choices = list(range(num_clips)), []
    for digit in sample.answer[:-1]:
        clip = int(digit) - 1
        prior = np.zeros(len(remaining))
        choices.append(Choice(clips[remaining], prior, remaining.index(clip), sample.video_id))
        remaining.remove(clip)

    def reply(probabilities: Sequence[Floats]) -> str:
        # At the first position every clip is an alternative: sort them by the probability to play first.
        return "".join(str(clip + 1) for clip in np.argsort(-probabilities[0], kind="stable"))

    return ProbeSample(sample, choices, reply)
