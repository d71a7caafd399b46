"""Parse a reply and score it, for the three tasks. Needs the standard library alone: an export for verl holds a copy.

Every scorer takes the model's reply, unchanged, and the right answer. A reply that does not parse is the model's
mistake and scores 0.0. An answer that does not parse is a mistake of ours and raises ValueError.

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
# Larger counts all score 0.0. Without the limit, int() would raise for a reply of 5,000 digits.
_MAX_DIGITS = 9

Interval = tuple[float, float]
Counts = tuple[int, ...]


def score(task: str, completion: str, answer: str) -> float:
    """The smooth reward in 0..1. Raises ValueError on an unknown task or a malformed answer."""
    return _scored(task, completion, answer, _rules(task).score)


def strict(task: str, completion: str, answer: str, iou_threshold: float = 0.5) -> float:
    """The all-or-nothing reward, 0.0 or 1.0; raises ValueError like `score`.

    The paper's Table 4 does not say when an interval is right: here it is at an IoU of at least `iou_threshold`.
    """
    value = _scored(task, completion, answer, _rules(task).metric)
    threshold = iou_threshold if task == "grounding" else 1.0
    return 1.0 if value >= threshold else 0.0


def metric(task: str, completion: str, answer: str) -> float:
    """The score that a VIUBench column averages, in 0..1. Raises ValueError like `score`."""
    return _scored(task, completion, answer, _rules(task).metric)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: object = None, **options: object
) -> float:
    """`score` with the arguments that verl passes to a custom reward function: `data_source` is the task."""
    return score(data_source, solution_str, ground_truth)


def parsed(task: str, completion: str, answer: str) -> bool:
    """Whether the reply has the requested form. A wrong reply in the right form is parsed."""
    rules = _rules(task)
    return rules.parse(completion, len(rules.parse_answer(answer))) is not None


def is_answer(task: str, answer: str) -> bool:
    """Whether a text is a right answer in form: one that `score` accepts. Raises ValueError on an unknown task."""
    rules = _rules(task)
    try:
        rules.parse_answer(answer)
    except ValueError:
        return False
    return True


def parse_interval(text: str) -> Interval | None:
    """Start and end in seconds of a text that is exactly `a - b`, white space around it ignored; else None."""
    match = _INTERVAL.fullmatch(text.strip())
    return (float(match[1]), float(match[2])) if match else None


def parse_counts(text: str) -> Counts | None:
    """The integers of a text that holds exactly three, at any place; else None."""
    digits = [number.lstrip("0") or "0" for number in _INTEGER.findall(text)]
    if len(digits) != NUM_SHAPES:
        return None
    return tuple(int(number) if len(number) <= _MAX_DIGITS else 10**_MAX_DIGITS for number in digits)


def parse_order(text: str, num_clips: int) -> Counts | None:
    """The digits of a text that is a permutation of 1..num_clips without separators; else None."""
    digits = text.strip()
    if sorted(digits) != [str(position) for position in range(1, num_clips + 1)]:
        return None
    return tuple(int(digit) for digit in digits)


def interval_iou(first: Interval, second: Interval) -> float:
    """Intersection over union of two intervals in seconds. An interval that ends before it starts has IoU 0."""
    overlap = min(first[1], second[1]) - max(first[0], second[0])
    if overlap <= 0:
        return 0.0
    return overlap / (max(first[1], second[1]) - min(first[0], second[0]))


@dataclass(frozen=True)
class _Rules:
    """How one task parses a reply (given the length of the answer), parses an answer, and compares the two."""

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
    errors = (abs(count - true) / (true + 1e-9) for count, true in zip(reply, right, strict=True))
    return sum(max(0.0, 1.0 - error) for error in errors) / NUM_SHAPES


def _exact_share(reply: Counts, right: Counts) -> float:
    return sum(count == true for count, true in zip(reply, right, strict=True)) / NUM_SHAPES


def _order_closeness(reply: Counts, right: Counts) -> float:
    # Each digit is a clip. Its displacement is the distance between its place in the reply and in the answer.
    displacement = sum(abs(place - right.index(digit)) for place, digit in enumerate(reply))
    # floor(n^2 / 2) is the displacement of the reversed order, which is the largest.
    return 1.0 - displacement / (len(right) ** 2 // 2)


def _same_order(reply: Counts, right: Counts) -> float:
    return float(reply == right)


_RULES = {
    "grounding": _Rules(lambda text, _: parse_interval(text), _answer_interval, interval_iou, interval_iou),
    "counting": _Rules(lambda text, _: parse_counts(text), _answer_counts, _count_closeness, _exact_share),
    "jigsaw": _Rules(parse_order, _answer_order, _order_closeness, _same_order),
}
