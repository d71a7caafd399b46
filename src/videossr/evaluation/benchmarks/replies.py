"""What a reply says: one of the item's own labels, an order of its clips, or an interval in seconds."""

import re

from videossr import rewards
from videossr.evaluation.benchmarks.items import Item
from videossr.evaluation.benchmarks.labels import parse_label
from videossr.rewards import Interval

Parsed = str | tuple[int, ...] | Interval

_THOUGHT_ENDS = re.compile("</think>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}")
_DECORATION = re.compile(r"[*_`$#]+")

_ORDER_STATED = re.compile(r"correct order", re.IGNORECASE)
_ORDER = re.compile(r"(?:clip\s*)?[0-9]{1,2}(?:\s*(?:,|->|→|>|-)\s*(?:and\s+)?(?:clip\s*)?[0-9]{1,2})+", re.IGNORECASE)

# Clock times (1:02:03.5, 00:24) or seconds, also with a decimal comma.
_TIME = r"(?<![\w.:])((?:[0-9]{1,2}:)?[0-9]{1,3}:[0-9]{2}(?:\.[0-9]{1,6})?|[0-9]{1,9}(?:[.,][0-9]{1,6})?)(?![0-9:])"
_UNIT = r"\s*(?:(?:s|sec|secs|second|seconds)\b\.?)?"
_INTERVALS = (
    re.compile(rf"{_TIME}{_UNIT}\s*(?:[-–—~]|to|until)\s*{_TIME}", re.IGNORECASE),
    re.compile(rf"between\s+{_TIME}{_UNIT}\s+and\s+{_TIME}", re.IGNORECASE),
    re.compile(
        rf"\b(?:start|begin)\w*[^0-9]{{1,40}}{_TIME}[^0-9]{{1,60}}?\b(?:end|finish|stop)\w*[^0-9]{{1,40}}{_TIME}",
        re.IGNORECASE,
    ),
    re.compile(rf"[\[(]\s*{_TIME}{_UNIT}\s*[,;]\s*{_TIME}{_UNIT}\s*[\])]", re.IGNORECASE),
)
_QUOTED = re.compile(r"(?<!\w)'[^'\n]*'(?!\w)|\"[^\"\n]*\"")


def parse_reply(item: Item, reply: str) -> Parsed | None:
    """The answer that a reply gives to an item: a label, clip numbers from 1, or start and end in seconds; else None.

    Of VIUBench it is the reply itself, which `rewards.metric` reads as in training.

    Never raises: a reply that cannot be read is the model's mistake.
    """
    if item.task:
        return reply if rewards.parsed(item.task, reply, item.answer) else None
    text = strip_reply(reply)
    if item.windows:
        return parse_interval(text)
    if item.labels:
        return parse_label(text, item.labels, item.options)
    return parse_order(text, len(item.order))


def strip_reply(text: str) -> str:
    r"""The answer part of a reply: after a thought, inside `<answer>` or `\boxed{}`, with single spaces.

    Marks of emphasis and empty lines are removed. A thought that never ends is no answer: empty.
    """
    before, *after = _THOUGHT_ENDS.split(text)
    if not after and "<think>" in text.lower():
        return ""
    text = after[-1] if after else before
    for wrapper in (_ANSWER_TAG, _BOXED):
        found = wrapper.findall(text)
        text = found[-1] if found else text
    # Long runs of white space would make the patterns of labels slow.
    lines = (" ".join(line.split()) for line in _DECORATION.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)


def parse_order(text: str, num_clips: int) -> tuple[int, ...] | None:
    """The permutation of 1..num_clips in a text: "Correct order: 2, 1, 3", "Clip 2 -> Clip 1 -> Clip 3", "213".

    What follows the last "correct order" is read where it holds a permutation. Several different ones are none.
    """
    after = _ORDER_STATED.split(text)[-1]
    orders = _permutations(after, num_clips) or _permutations(text, num_clips)
    if not orders:
        return rewards.parse_order(text, num_clips) if num_clips <= 9 else None
    return orders.pop() if len(orders) == 1 else None


def _permutations(text: str, num_clips: int) -> set[tuple[int, ...]]:
    wanted = list(range(1, num_clips + 1))
    lists = (tuple(int(number) for number in re.findall("[0-9]+", match[0])) for match in _ORDER.finditer(text))
    return {numbers for numbers in lists if sorted(numbers) == wanted}


def parse_interval(text: str) -> Interval | None:
    """The first interval that a text states, start and end in seconds, in increasing order; else None.

    Read are `24.3 - 30.4`, `24.3s to 30.4s`, `00:24 - 00:30`, `from .. to ..`, `between .. and ..`, `starts at .. and
    ends at ..`, `[24.3, 30.4]`. A quoted sentence is no answer: it repeats the question.
    """
    for part in (_QUOTED.sub(lambda match: match[0] if " " not in match[0] else " ", text), text):
        for pattern in _INTERVALS:
            match = pattern.search(part)
            if match:
                first, second = _seconds(match[1]), _seconds(match[2])
                return min(first, second), max(first, second)
    return None


def _seconds(time: str) -> float:
    """Seconds of `1:02:03.5`, `62.5`, `62,5`, or `1,062` (three digits behind a comma are thousands)."""
    whole, comma, behind = time.partition(",")
    if comma:
        time = whole + behind if len(behind) == 3 else f"{whole}.{behind}"
    seconds = 0.0
    for part in time.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
