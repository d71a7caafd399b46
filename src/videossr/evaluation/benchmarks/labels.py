"""Which of an item's labels a reply names: whole labels first, then the text of an option, else none.

`RULES` are tried in turn. The first that finds a label decides, and it must find one alone: a reply that names several
is unanswered. Nothing is guessed from a first letter, and nothing is drawn.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_NOUN = r"(?:option|sentence|caption|choice)"
_NEVER = "(?!)"
# These labels are words as well ("A man", "no dog"): without a mark they count only where no word follows.
_WORD_LABELS = ("A", "I", "NO")
_NO_WORD_FOLLOWS = r"""(?=\s*$|[\])".,:;!?\n])"""
_NOT_WITHIN_A_WORD = r"(?<![\w'’])(?<!\bnot )"
_DECORATION = re.compile(r"[*_`$#]+")


@dataclass(frozen=True)
class Choice:
    """The labels of an item, the plain text of each option, and the patterns of labels in a reply."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    whole: re.Pattern[str]
    stated: re.Pattern[str]
    leading: re.Pattern[str]
    marked: re.Pattern[str]
    bare: re.Pattern[str]

    def named(self, matches: Iterable[re.Match[str] | None]) -> set[str]:
        """The labels that the groups of these matches hold."""
        texts = {text.upper() for match in matches if match for text in match.groups() if text}
        return {label for label in self.labels if label.upper() in texts}

    def lines(self) -> Iterator[tuple[str, str]]:
        return zip(self.labels, self.texts, strict=True)


def parse_label(text: str, labels: Sequence[str], options: Sequence[str]) -> str | None:
    """The label that a stripped reply gives, of an item with these labels and the text of each; None where none."""
    choice = _choice(tuple(labels), tuple(options))
    for rule in RULES:
        found = rule(text, choice)
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def plain_text(text: str) -> str:
    """A text without case, marks of emphasis, repeated white space, and punctuation at its ends."""
    return " ".join(_DECORATION.sub("", text).casefold().split()).strip(" .,;:!?\"'()[]")


def whole(text: str, choice: Choice) -> set[str]:
    """The reply is a label: "B", "b", "(B)", "B.", "Option 2:"."""
    return choice.named([choice.whole.fullmatch(text)])


def whole_line(text: str, choice: Choice) -> set[str]:
    """The reply is a label with the text of its option: "B. a red box"."""
    wanted = {label.upper(): option for label, option in choice.lines()}
    match = re.match(rf"\W*(?:(?i:{_NOUN})\s+)?(\w+)[.):\]]*\s+(.*)", text, re.DOTALL)
    is_line = match is not None and wanted.get(match[1].upper()) == plain_text(match[2])
    return choice.named([match and re.match(r"(.*)", match[1])]) if is_line else set()


def whole_text(text: str, choice: Choice) -> set[str]:
    """The reply is the text of an option: "a red box"."""
    return {label for label, option in choice.lines() if option and option == plain_text(text)}


def own_line(text: str, choice: Choice) -> set[str]:
    """A label has a line to itself, before or after an explanation."""
    return choice.named(choice.whole.fullmatch(line.strip()) for line in text.splitlines())


def stated(text: str, choice: Choice) -> set[str]:
    """A label follows "the answer is", "best option:" and the like."""
    return choice.named(choice.stated.finditer(text))


def leading(text: str, choice: Choice) -> set[str]:
    """A label that is a word begins the reply, and a comma or full stop follows: "Yes, he is"."""
    return choice.named([choice.leading.match(text)])


def marked(text: str, choice: Choice) -> set[str]:
    """A label stands with a mark of its own: "B.", "(B)", "B)", "B:", "option B"."""
    return choice.named(choice.marked.finditer(text))


def bare(text: str, choice: Choice) -> set[str]:
    """A label stands as a word anywhere: "I think it is B"."""
    return choice.named(choice.bare.finditer(text))


def contained(text: str, choice: Choice) -> set[str]:
    """The reply holds the text of an option; of "Keynesian" and "New Keynesian", the longer where both fit."""
    words = {label.casefold() for label in choice.labels}  # of these the rules above know where they are labels
    texts = {label: option for label, option in choice.lines() if option and option not in words}
    held = {label: option for label, option in texts.items() if _holds(plain_text(text), option)}
    return {
        label
        for label, option in held.items()
        if not any(other != option and _holds(other, option) for other in held.values())
    }


def _holds(text: str, part: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


RULES: tuple[Callable[[str, Choice], set[str]], ...] = (
    whole,
    whole_line,
    whole_text,
    own_line,
    stated,
    leading,
    marked,
    bare,
    contained,
)


@lru_cache(maxsize=1024)
def _choice(labels: tuple[str, ...], options: tuple[str, ...]) -> Choice:
    any_case = f"(?i:{'|'.join(map(re.escape, labels))})"
    letters = _either(label for label in labels if len(label) == 1)
    free = _either(label for label in labels if label.upper() not in _WORD_LABELS)
    # A number is a label only with a mark: "2 men" names none.
    free_words = _either(label for label in labels if label.upper() not in _WORD_LABELS and not label.isdigit())
    word_like = rf"({_either(label for label in labels if label.upper() in _WORD_LABELS)}){_NO_WORD_FOLLOWS}"
    answer_is = rf"(?i:\b(?:answer|(?:best|correct|right)\s+{_NOUN})\b\s*(?:is|=)?\s*:?\s*(?:{_NOUN}\s+)?)[(\[\"']*"
    return Choice(
        labels,
        tuple(map(plain_text, options)),
        whole=re.compile(rf"\W*(?:(?i:{_NOUN}|answer)\W+)?({any_case})\W*"),
        stated=re.compile(rf"{answer_is}(?:({free})(?![\w'’-])|{word_like}|({any_case})\W*$)"),
        leading=re.compile(rf"\W*({_either(label for label in labels if len(label) > 1)})(?=\s*[,.;:!])"),
        marked=re.compile(
            rf"\(\s*({any_case})\s*\)|(?i:\b{_NOUN})\s+({_either(labels)})(?![\w'’-])"
            rf"|{_NOT_WITHIN_A_WORD}({letters})(?=[.):](?!\w))"
        ),
        bare=re.compile(rf"{_NOT_WITHIN_A_WORD}(?:({free_words})(?![\w'’-])|{word_like})"),
    )


def _either(labels: Iterable[str]) -> str:
    """Any of the labels; a word in any case, a letter in its own: "a" is an article."""
    return "|".join(f"(?i:{re.escape(label)})" if len(label) > 1 else re.escape(label) for label in labels) or _NEVER
