"""How the score on VIUBench depends on how hard a question is: one curve for each factor and policy.

The factors follow from the edit: the length of the edited interval, the number of clips, the most shapes on a frame,
and, for grounding, how far the edit changes the pixels (`perceptibility`), in four bins of equally many questions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from videossr.clip import Clip
from videossr.errors import SourceError
from videossr.evaluation.intervals import MIN_VIDEOS, VideoScores, bootstrap_intervals
from videossr.evaluation.runner import score_reply
from videossr.pretext import TASKS
from videossr.records import Sample, ScoredReply, source_of
from videossr.storage.jsonl import read_jsonl

_NUM_BINS = 4
_RESAMPLES = 2000


@dataclass(frozen=True)
class Factor:
    """What makes a question hard: its title, the task it applies to, and what the numbers of the axis are."""

    title: str
    task: str
    axis: str


FACTORS = {
    "length": Factor("Grounding: length of the interval", "grounding", "edited frames"),
    "strength": Factor("Grounding: strength of the edit", "grounding", "mean change of a channel, 0 to 255"),
    "shapes": Factor("Counting: shapes on a frame", "counting", "most shapes on a frame"),
    "clips": Factor("Jigsaw: number of clips", "jigsaw", "clips"),
}


@dataclass(frozen=True)
class Point:
    """The mean score of the questions of one difficulty, in percent, with its 95 % interval over videos.

    `value` is the difficulty, of a bin the mean of its questions. Below six videos the interval is the whole range.
    """

    value: float
    mean: float
    low: float
    high: float
    questions: int
    videos: int


Curves = Mapping[str, Mapping[str, Sequence[Point]]]  # factor -> policy -> its points, by increasing difficulty value


def difficulties(
    samples: Sequence[Sample], store: Mapping[str, Clip], progress: bool = True
) -> dict[str, dict[str, float]]:
    """The difficulty of each question by factor and id. Questions of grounding are drawn to measure their strength."""
    drawn = [sample for sample in samples if sample.task == "grounding"]
    return {
        "length": {sample.sample_id: float(sample.edit["length"]) for sample in drawn},
        "strength": _bins(_strengths(drawn, store, progress)),
        "shapes": {sample.sample_id: _most_shapes(sample) for sample in samples if sample.task == "counting"},
        "clips": {sample.sample_id: float(len(sample.answer)) for sample in samples if sample.task == "jigsaw"},
    }


def difficulty_curves(
    values: Mapping[str, Mapping[str, float]], scored: Mapping[str, Sequence[ScoredReply]], seed: int = 0
) -> dict[str, dict[str, list[Point]]]:
    """The curves of every policy in `scored`, by factor; a factor without questions has none."""
    return {
        factor: {name: _curve(of_factor, replies, seed) for name, replies in scored.items()}
        for factor, of_factor in values.items()
        if of_factor
    }


def read_replies(paths: Iterable[Path], samples: Sequence[Sample]) -> dict[str, list[ScoredReply]]:
    """Scored replies to `samples` by the name of their file, whichever evaluation wrote it.

    Raises SourceError where a file lacks a question.
    """
    scored = {}
    for path in paths:
        replies = {str(row.get("sample_id", row.get("id"))): str(row["reply"]) for row in read_jsonl(path)[1:]}
        missing = [sample.sample_id for sample in samples if sample.sample_id not in replies]
        if missing:
            raise SourceError(
                f"{path} must hold a reply to each of the {len(samples)} questions, {len(missing)} have none (the "
                f"first: {missing[0]}): name the samples that were evaluated, or evaluate again"
            )
        scored[path.stem] = [score_reply(sample, replies[sample.sample_id]) for sample in samples]
    return scored


def _strengths(samples: Sequence[Sample], store: Mapping[str, Clip], progress: bool) -> dict[str, float]:
    tasks = {name: task() for name, task in TASKS.items()}
    strengths = {}
    ordered = sorted(samples, key=lambda sample: (sample.video_id, sample.sample_id))
    with tqdm(total=len(ordered), desc="strength", unit="question", disable=not progress) as bar:
        for video_id, group in groupby(ordered, key=lambda sample: sample.video_id):
            clips = {video_id: store[video_id]}  # read once for all its questions
            for sample in group:
                donor = sample.edit["params"].get("donor")
                needed = clips | ({donor: store[donor]} if donor else {})
                strengths[sample.sample_id] = tasks[sample.task].perceptibility(sample, needed)
                bar.update()
    return strengths


def _bins(values: Mapping[str, float]) -> dict[str, float]:
    """Each value replaced by the mean of its quarter of all values; equal values stay in one bin."""
    if not values:
        return {}
    numbers = np.array(list(values.values()))
    edges = np.quantile(numbers, np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    places = np.searchsorted(edges, numbers, side="left")
    means = {place: float(numbers[places == place].mean()) for place in np.unique(places).tolist()}
    return {name: round(means[place], 3) for name, place in zip(values, places.tolist(), strict=True)}


def _most_shapes(sample: Sample) -> float:
    return float(max(Counter(shape["frame"] for shape in sample.edit["shapes"]).values()))


def _curve(values: Mapping[str, float], scored: Sequence[ScoredReply], seed: int) -> list[Point]:
    of_factor = [item for item in scored if item.sample_id in values]
    levels = sorted(set(values.values()))
    sources = sorted({source_of(item.video_id) for item in of_factor})
    videos = {source: place for place, source in enumerate(sources)}
    sums, counts = np.zeros((2, len(levels), len(videos)))
    for item in of_factor:
        cell = levels.index(values[item.sample_id]), videos[source_of(item.video_id)]
        sums[cell] += 100 * item.score
        counts[cell] += 1
    scores = VideoScores(sums, counts)
    means = scores.column_means(np.ones((1, len(videos))))[0]
    intervals = bootstrap_intervals(scores, num_resamples=_RESAMPLES, seed=seed, value_range=(0.0, 100.0))
    points = []
    for place, level in enumerate(levels):
        num_videos = int((counts[place] > 0).sum())
        low, high = intervals[:, place] if num_videos >= MIN_VIDEOS else (0.0, 100.0)
        questions = int(counts[place].sum())
        mean, low, high = (round(float(value), 4) for value in (means[place], low, high))
        points.append(Point(level, mean, low, high, questions, num_videos))
    return points
