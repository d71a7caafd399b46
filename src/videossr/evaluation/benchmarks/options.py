"""Options and the right answer of a record: their labels, their texts, and the answer as one of the labels."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
YES_NO = ("yes", "no")

_LINE = re.compile(r"\s*(?:(?:Option|Sentence|Caption)\s+)?\(?(?P<label>[A-Z]|\d)[.):]\s*(?P<text>.*?)\s*", re.DOTALL)
_LETTERED = re.compile(r"\s*(?P<label>[A-Z])\.\s*(?P<text>.*?)\s*", re.DOTALL)
_IN_ONE_STRING = re.compile(r",?\s*\b(?=[A-Z]\.\s)")


@dataclass(frozen=True)
class Options:
    """Labels, the text of each, and the rules that the published options break."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    faults: tuple[str, ...] = ()


def read_options(form: str, published: Any, question: str) -> Options:
    """The options of a record, by the form in which its benchmark publishes them.

    `published` is the field of options, or None where they stand in the question. Raises ValueError where there is no
    option, or the field is no list of texts.
    """
    if form == "yes_no":
        return Options(YES_NO, YES_NO)
    if form == "in_question":
        return _in_question(question)
    if not isinstance(published, list) or not all(isinstance(text, str) for text in published):
        raise ValueError(f"options must be a list of texts, got {published!r:.60}")
    options = _lettered(published) if form == "lettered" else _bare(published)
    if not options.labels:
        raise ValueError("a question needs at least one option, got none")
    return options


def _bare(published: Sequence[str]) -> Options:
    """Options without labels of their own. What looks like one ("A: $3,616.24, B: ...") is part of the text."""
    texts = tuple(text.strip() for text in published)
    return Options(tuple(LETTERS[: len(texts)]), texts)


def _lettered(published: Sequence[str]) -> Options:
    """Options that begin with their label, or the words yes and no, which are their own labels."""
    words = tuple(text.strip().rstrip(".") for text in published)
    if tuple(word.lower() for word in words) == YES_NO:
        return Options(words, words)
    faults: tuple[str, ...] = ()
    if len(published) == 1 and len(pieces := _IN_ONE_STRING.split(published[0])) > 2:
        published, faults = [piece for piece in pieces if piece], ("options_in_one_string",)
    matches = [_LETTERED.fullmatch(text) for text in published]
    labels = tuple(LETTERS[: len(matches)])
    if tuple(match["label"] if match else "" for match in matches) != labels:
        faults = (*faults, "labels_out_of_order")
    texts = (match["text"] if match else text.strip() for match, text in zip(matches, published, strict=True))
    return Options(labels, tuple(texts), faults)


def _in_question(question: str) -> Options:
    """Options that stand below the question, one a line, labelled in sequence from A or 1; an option may be longer."""
    found: dict[str, str] = {}
    for line in question.split("\n"):
        match = _LINE.fullmatch(line)
        if match and match["label"] == _next_label(found):
            found[match["label"]] = match["text"]
        elif match and match["label"] in "A1":
            found = {match["label"]: match["text"]}
        elif found:
            last = next(reversed(found))
            found[last] = f"{found[last]}\n{line.strip()}".strip()
    if not found:
        raise ValueError("the options must stand below the question, as 'A. text' in sequence from A, found none")
    return Options(tuple(found), tuple(found.values()))


def _next_label(found: dict[str, str]) -> str | None:
    """The label that continues the sequence; None before it starts."""
    return chr(ord(next(reversed(found))) + 1) if found else None


def read_answer(form: str, published: Any, options: Options) -> str:
    """The right answer as a label, from the form in which its benchmark publishes it.

    Raises ValueError where it is none of the labels. A text that two options share is none: no label is the right one.
    """
    candidates = list(_ANSWERS[form](published, options))
    if len(candidates) != 1:
        raise ValueError(f"the answer must be one of {', '.join(options.labels)}, got {published!r:.60}")
    return candidates[0]


def _by_label(published: Any, options: Options) -> Iterator[str]:
    yield from (label for label in options.labels if label == str(published).strip())


def _by_position(published: Any, options: Options) -> Iterator[str]:
    yield from (label for place, label in enumerate(options.labels) if str(place) == str(published))


def _by_text(published: Any, options: Options) -> Iterator[str]:
    texts = zip(options.labels, options.texts, strict=True)
    yield from (label for label, text in texts if text == str(published).strip())


def _by_line(published: Any, options: Options) -> Iterator[str]:
    """The whole line of the option, `Option 2: A man ..`; or the word itself for yes and no."""
    if options.labels == YES_NO:
        return _by_label(str(published).lower(), options)
    match = _LINE.fullmatch(str(published))
    pair = (match["label"], match["text"]) if match else None
    return (label for label, text in zip(options.labels, options.texts, strict=True) if (label, text) == pair)


_ANSWERS: dict[str, Callable[[Any, Options], Iterator[str]]] = {
    "label": _by_label,
    "position": _by_position,
    "text": _by_text,
    "line": _by_line,
}
