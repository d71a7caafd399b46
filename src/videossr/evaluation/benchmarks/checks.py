"""What loaded items must satisfy, and which faults of the published files are known."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from videossr.evaluation.benchmarks.entries import KnownFault
from videossr.evaluation.benchmarks.items import Fault, Item
from videossr.records import VIDEO_MARKER

RULES = {
    "duplicate_id": "an id must occur once",
    "same_question": "the same question with the same answer must occur once",
    "answer_not_a_label": "the answer must be one of the labels",
    "one_option": "a choice must have at least two options",
    "answer_text_twice": "the text of the right option must stand under one label",
    "labels_out_of_order": "the options must be labelled in sequence from A",
    "options_in_one_string": "the options must be a list",
    "empty_question": "a question must have a text and a video",
    "marker_in_question": f"a question must not hold {VIDEO_MARKER}",
    "window_reversed": "a window must end after it starts, at 0 s or later",
    "window_beyond_duration": "a window must end within the video",
}


_ROUNDING_SECONDS = 1e-6  # a duration such as 113.26 may be written as 113.25999999999999


def find_faults(items: Sequence[Item]) -> list[Fault]:
    """Every rule that an item breaks, in the order of the items; duplicates at their second occurrence."""
    faults = [fault for item in items for check in _ITEM_CHECKS for fault in check(item)]
    faults += _repeated(items, "duplicate_id", lambda item: item.id)
    faults += _repeated(items, "same_question", _identity)
    return faults


def unexpected(faults: Iterable[Fault], known: Sequence[KnownFault]) -> list[Fault]:
    """The faults that the table does not list. Of a rule that it lists by count, those beyond the count."""
    met: Counter[int] = Counter()
    left = []
    for fault in faults:
        place = next((place for place, entry in enumerate(known) if _covers(entry, fault)), None)
        if place is not None:
            met[place] += 1
        if place is None or (not known[place].ids and met[place] > known[place].count):
            left.append(fault)
    return left


def _covers(known: KnownFault, fault: Fault) -> bool:
    in_list = fault.item_id in known.ids if known.ids else True
    within = known.at_most is None or fault.amount <= known.at_most
    return known.rule == fault.rule and in_list and within


def _check_choice(item: Item) -> Iterator[Fault]:
    if len(item.labels) == 1:
        yield Fault("one_option", item.id, f"it has {item.options[0]!r:.40} alone")
    if item.answer in item.labels:
        text = item.options[item.labels.index(item.answer)]
        if item.options.count(text) > 1:
            yield Fault("answer_text_twice", item.id, f"{text!r:.40} stands {item.options.count(text)} times")


def _check_text(item: Item) -> Iterator[Fault]:
    if not item.question or not item.videos:
        yield Fault(
            "empty_question", item.id, f"its text is {item.question!r:.40} and it has {len(item.videos)} videos"
        )
    if not item.task and VIDEO_MARKER in item.question or any(VIDEO_MARKER in text for text in item.options):
        yield Fault("marker_in_question", item.id, "it would ask for one video more")


def _check_windows(item: Item) -> Iterator[Fault]:
    for start, end in item.windows:
        if not 0 <= start < end:
            yield Fault("window_reversed", item.id, f"it has {start:g}-{end:g}")
        elif item.duration_seconds is not None and end > item.duration_seconds + _ROUNDING_SECONDS:
            detail = f"it has {start:g}-{end:g} in a video of {item.duration_seconds:g} s"
            yield Fault("window_beyond_duration", item.id, detail, round(end - item.duration_seconds, 6))


_ITEM_CHECKS: tuple[Callable[[Item], Iterator[Fault]], ...] = (_check_choice, _check_text, _check_windows)


def _repeated(items: Sequence[Item], rule: str, key: Callable[[Item], object]) -> Iterator[Fault]:
    first: dict[object, int] = {}
    for place, item in enumerate(items):
        seen = first.setdefault(key(item), place)
        if seen != place:
            yield Fault(rule, item.id, f"it repeats {items[seen].id}")


def _identity(item: Item) -> object:
    return item.videos, item.question, item.options, item.answer, item.windows, tuple(item.prompt_values.items())
