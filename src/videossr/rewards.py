"""Parse a reply and score it: the three tasks' arithmetic, on the standard library alone.

Every scorer takes the reply as the model wrote it and the right answer. A reply that does not parse scores 0.0: that is
the model's mistake. An answer that does not parse raises ValueError: that is ours.

- `score`  the smooth reward that training maximises (paper, section 3)
- `strict` the all-or-nothing reward of the ablation (paper, Table 4)
- `metric` the VIUBench column: grounding keeps the IoU, counting takes the mean exact match, jigsaw the exact match
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TASK_NAMES = ("grounding", "counting", "jigsaw")
NUM_SHAPES = 3

_NUMBER = r"[0-9]+(?:\.[0-9]*)?"
_INTERVAL = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})")
_INTEGER = re.compile(r"[0-9]+")
# Counts beyond this all score the same 0.0; without the cap a reply of 5,000 digits would raise in int().
_MAX_DIGITS = 9

Interval = tuple[float, float]
Counts = tuple[int, ...]


def score(task: str, completion: str, answer: str) -> float:
    """The smooth reward in 0..1; raises ValueError on an unknown task or a malformed answer."""
    return _scored(task, completion, answer, _rules(task).score)


def strict(task: str, completion: str, answer: str, iou_threshold: float = 0.5) -> float:
    """The all-or-nothing reward, 0.0 or 1.0; raises ValueError like `score`.

    The paper's Table 4 leaves open when an interval counts as right: here, at an IoU of at least `iou_threshold`.
    """
    value = _scored(task, completion, answer, _rules(task).metric)
    threshold = iou_threshold if task == "grounding" else 1.0
    return 1.0 if value >= threshold else 0.0


def metric(task: str, completion: str, answer: str) -> float:
    """What a VIUBench column averages, in 0..1; raises ValueError like `score`."""
    return _scored(task, completion, answer, _rules(task).metric)


def parsed(task: str, completion: str, answer: str) -> bool:
    """Whether the reply has the form that was asked for; a wrong reply in the right form counts as parsed."""
    rules = _rules(task)
    return rules.parse(completion, len(rules.parse_answer(answer))) is not None


def parse_interval(text: str) -> Interval | None:
    """The two seconds of `a - b` when the stripped text is exactly that, else None."""
    match = _INTERVAL.fullmatch(text.strip())
    return (float(match[1]), float(match[2])) if match else None


def parse_counts(text: str) -> Counts | None:
    """The three integers of a text that holds exactly three, wherever they stand, else None."""
    digits = [number.lstrip("0") or "0" for number in _INTEGER.findall(text)]
    if len(digits) != NUM_SHAPES:
        return None
    return tuple(int(number) if len(number) <= _MAX_DIGITS else 10**_MAX_DIGITS for number in digits)


def parse_order(text: str, num_clips: int) -> Counts | None:
    """The digits of a text that, stripped, is a permutation of 1..num_clips written without separators, else None."""
    digits = text.strip()
    if sorted(digits) != [str(position) for position in range(1, num_clips + 1)]:
        return None
    return tuple(int(digit) for digit in digits)


def interval_iou(first: Interval, second: Interval) -> float:
    """Intersection over union of two intervals of seconds; an interval that ends before it starts has IoU 0."""
    overlap = min(first[1], second[1]) - max(first[0], second[0])
    if overlap <= 0:
        return 0.0
    return overlap / (max(first[1], second[1]) - min(first[0], second[0]))


@dataclass(frozen=True)
class _Rules:
    """How one task reads a reply (given the answer's length), reads an answer, and compares the two."""

    parse: Callable[[str, int], Any]
    parse_answer: Callable[[str], Any]
    score: Callable[[Any, Any], float]
    metric: Callable[[Any, Any], float]


def _scored(task: str, completion: str, answer: str, compare: Callable[[Any, Any], float]) -> float:
    rules = _rules(task)
    right = rules.parse_answer(answer)
    reply = rules.parse(completion, len(right))
    return 0.0 if reply is None else compare(reply, right)


def _rules(task: str) -> _Rules:
    if task not in _RULES:
        raise ValueError(f"the task must be one of {', '.join(TASK_NAMES)}, got {task!r}")
    return _RULES[task]


def _answer_interval(answer: str) -> Interval:
    interval = parse_interval(answer)
    if interval is None or interval[1] <= interval[0]:
        raise ValueError(f"a grounding answer must be start-end in seconds with start < end, got {answer!r}")
    return interval


def _answer_counts(answer: str) -> Counts:
    if not re.fullmatch(r"[0-9]{1,9},[0-9]{1,9},[0-9]{1,9}", answer):
        raise ValueError(f"a counting answer must be three counts like 3,0,2, got {answer!r}")
    return tuple(int(count) for count in answer.split(","))


def _answer_order(answer: str) -> Counts:
    order = parse_order(answer, len(answer))
    if order is None or not 2 <= len(order) <= 9:
        raise ValueError(f"a jigsaw answer must be a permutation of 2 to 9 digits from 1, got {answer!r}")
    return order


def _count_closeness(reply: Counts, right: Counts) -> float:
    errors = (abs(said - true) / (true + 1e-9) for said, true in zip(reply, right, strict=True))
    return sum(max(0.0, 1.0 - error) for error in errors) / NUM_SHAPES


def _exact_share(reply: Counts, right: Counts) -> float:
    return sum(said == true for said, true in zip(reply, right, strict=True)) / NUM_SHAPES


def _order_closeness(reply: Counts, right: Counts) -> float:
    # Each digit is a clip of the original; it is displaced by the places between where it is said and where it stands.
    displacement = sum(abs(place - right.index(digit)) for place, digit in enumerate(reply))
    # floor(n^2 / 2) is the displacement of the reversed order, the largest there is.
    return 1.0 - displacement / (len(right) ** 2 // 2)


def _same_order(reply: Counts, right: Counts) -> float:
    return float(reply == right)


_RULES = {
    "grounding": _Rules(lambda text, _: parse_interval(text), _answer_interval, interval_iou, interval_iou),
    "counting": _Rules(lambda text, _: parse_counts(text), _answer_counts, _count_closeness, _exact_share),
    "jigsaw": _Rules(parse_order, _answer_order, _order_closeness, _same_order),
}
