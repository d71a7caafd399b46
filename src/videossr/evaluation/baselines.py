"""The guesses, two VIUBench rows without video and policy: the paper's random guess and the best constant answer.

The paper's random guess is a uniform count in 1..9 (easy) or 1..16 (hard), the whole video as the interval, and a
uniformly drawn order. A constant answer beats it (an interval in the middle scores about 31 instead of 25), so both are
reported: a policy uses the video only if it beats the better of the two.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import eq

import numpy as np

from videossr import rewards
from videossr.evaluation.viubench import COLUMNS
from videossr.pretext import PretextTask
from videossr.pretext.baselines import best_constant, best_interval, grid_intervals
from videossr.pretext.grounding import format_interval, frame_edges
from videossr.records import FrameTimes, Sample, kind_name
from videossr.rewards import Interval

LARGEST_COUNT = {"easy": 9, "hard": 16}
_WHOLE_CLIP: Interval = (0.0, 1.0)
_GRID_STEPS = 48  # a constant interval starts and ends on a 48th of the clip: the paper's frame grid
_NUM_EXAMPLES = 300  # as many as a column of the paper's VIUBench has questions

Times = Mapping[str, Sequence[float]]


def random_answers(samples: Sequence[Sample], videos: Sequence[FrameTimes], seed: int) -> list[str]:
    """The paper's random guess for each sample: a function of the seed, the sample id and the video's frame times."""
    times = _times_by_video(videos)
    return [_random_answer(sample, times, _rng(seed, sample.sample_id)) for sample in samples]


def constant_answers(samples: Sequence[Sample], examples: Sequence[Sample], videos: Sequence[FrameTimes]) -> list[str]:
    """For each sample, the constant answer with the best mean metric on the examples of its task and variant.

    A constant interval is a pair of fractions of the clip, converted to seconds of each clip. `videos` holds the frame
    times of the videos of `samples` and `examples`. `examples` come from `training_examples` and never contain the
    questions themselves. Raises KeyError for a sample whose task and variant have no example.
    """
    times = _times_by_video(videos)
    by_column: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for example in examples:
        by_column[example.task, example.variant].append(example)
    best = {column: _best_answer(column[0], rows, times) for column, rows in by_column.items()}
    return [_format_answer(best[sample.task, sample.variant], sample, times) for sample in samples]


def training_examples(
    train: Sequence[Sample], train_videos: Sequence[FrameTimes], tasks: Mapping[str, PretextTask], seed: int
) -> list[Sample]:
    """The training samples of the nine columns; the task generates more where a column has fewer than 300.

    `train_videos` are training videos only: a constant answer must not depend on the videos that it is scored on.
    """
    examples: list[Sample] = []
    for task, variant in COLUMNS.values():
        present = [sample for sample in train if (sample.task, sample.variant) == (task, variant)]
        usable = [video for video in train_videos if tasks[task].fits(video, variant)]
        rng = _rng(seed, kind_name(task, variant))
        missing = range(len(present), _NUM_EXAMPLES if usable else 0)
        examples += present
        examples += [tasks[task].generate(usable[index % len(usable)], variant, rng) for index in missing]
    return examples


def _times_by_video(videos: Sequence[FrameTimes]) -> Times:
    return {video.video_id: video.times for video in videos}


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def _random_answer(sample: Sample, times: Times, rng: np.random.Generator) -> str:
    if sample.task == "grounding":
        return _format_answer(_WHOLE_CLIP, sample, times)
    if sample.task == "counting":
        counts = rng.integers(1, LARGEST_COUNT[sample.variant] + 1, size=rewards.NUM_SHAPES)
        return ",".join(map(str, counts))
    return "".join(map(str, rng.permutation(len(sample.answer)) + 1))


def _best_answer(task: str, examples: Sequence[Sample], times: Times) -> str | Interval:
    """The constant with the best mean metric: an interval as fractions of the clip, or the text of the reply."""
    if task == "grounding":
        intervals = [_answer_fractions(example, times) for example in examples]
        return best_interval(grid_intervals(_GRID_STEPS), intervals)[0]
    answers = [example.answer for example in examples]
    if task == "counting":
        # The metric is a mean over the three shapes, so the best triple holds the most frequent count of each shape.
        return ",".join(_most_frequent(counts) for counts in zip(*(a.split(",") for a in answers), strict=True))
    return _most_frequent(answers)


def _most_frequent(answers: Sequence[str]) -> str:
    return best_constant(sorted(set(answers)), answers, eq)[0]


def _answer_fractions(sample: Sample, times: Times) -> Interval:
    """The edited interval as fractions of the clip's duration."""
    edges = frame_edges(times[sample.video_id], sample.edit)
    frames = sample.edit["start"], sample.edit["start"] + sample.edit["length"]
    start, end = (float(edges[frame] - edges[0]) / float(edges[-1] - edges[0]) for frame in frames)
    return start, end


def _format_answer(answer: str | Interval, sample: Sample, times: Times) -> str:
    """The reply to this sample: fractions of the clip become seconds, a text stays as it is."""
    if isinstance(answer, str):
        return answer
    edges = frame_edges(times[sample.video_id], sample.edit)
    start, end = (float(edges[0] + fraction * (edges[-1] - edges[0])) for fraction in answer)
    return format_interval(start, end)
