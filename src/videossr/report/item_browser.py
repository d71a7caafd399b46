"""The item browser: a page with every question of an evaluation and the replies of one or two policies to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videossr.evaluation.benchmarks import Item, ItemScore, item_scores
from videossr.evaluation.downstream.comparison import RIGHT, item_value
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.report.browser import PageForm, question_text, write_browser
from videossr.report.item_frames import FrameStrip


@dataclass(frozen=True)
class BrowserItem:
    """One question with the replies of one or two policies, in their order."""

    evaluations: tuple[Evaluation, ...]
    scores: tuple[ItemScore, ...]

    @property
    def item(self) -> Item:
        return self.scores[0].item

    @property
    def was_asked(self) -> bool:
        return any(self.item.id in each.replies for each in self.evaluations)

    @property
    def changed(self) -> bool:
        return len({item_value(each) >= RIGHT for each in self.scores}) > 1

    @property
    def source(self) -> str:
        return self.evaluations[0].key

    @property
    def item_id(self) -> str:
        return self.item.id

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        return self.item.groups

    @property
    def question(self) -> str:
        return question_text(self.item.question)

    @property
    def answer(self) -> str:
        return self.item.answer

    @property
    def replies(self) -> list[str | None]:
        return [side.replies.get(self.item.id) for side in self.evaluations]

    @property
    def values(self) -> list[float | None]:
        return [None if score.parsed is None else item_value(score) for score in self.scores]

    @property
    def detail(self) -> dict[str, Any]:
        item = self.item
        return {
            "question": self.question,
            "options": [[label, text] for label, text in zip(item.labels, item.options, strict=False)],
            "answer": item.answer,
            "windows": [list(window) for window in item.windows],
            "seconds": item.duration_seconds,
            "videos": [ref.path for ref in item.videos],
            "edit": [],
            "replies": [
                {
                    "text": side.replies.get(item.id),
                    "asked": item.id in side.replies,
                    "read": None if score.parsed is None else _readable(score.parsed),
                    "values": {metric: round(value, 4) for metric, value in score.values.items()},
                }
                for side, score in zip(self.evaluations, self.scores, strict=True)
            ],
            "times": [list(times) for times in self.evaluations[0].times.get(item.id, ())],
        }


def browser_items(evaluations: Sequence[tuple[Evaluation, ...]]) -> list[BrowserItem]:
    """The questions that at least one side was asked, of each benchmark in turn; each tuple is of one benchmark."""
    found = []
    for sides in evaluations:
        scored = [item_scores(each.items, each.replies) for each in sides]
        found += [BrowserItem(sides, scores) for scores in zip(*scored, strict=True)]
    return [each for each in found if each.was_asked]


def first_to_draw(items: Sequence[BrowserItem], count: int) -> list[int]:
    """Places of the `count` items whose frames are drawn: those that changed first, then in order."""
    return sorted(range(len(items)), key=lambda place: (not items[place].changed, place))[:count]


def write_item_browser(
    out: Path,
    items: Sequence[BrowserItem],
    names: Sequence[str],
    strips: Mapping[int, Sequence[FrameStrip]] | None = None,
) -> None:
    """Write the browser to the folder `out` (`write_browser`); `names` are those of the policies."""
    files = {str(side.path): dict(side.header) for each in items for side in each.evaluations}
    form = PageForm(f"{' and '.join(names)}, question by question", names, files=files)
    write_browser(out, items, form, lambda place: (strips or {}).get(place, ()))


def _readable(parsed: Any) -> str:
    return parsed if isinstance(parsed, str) else ", ".join(f"{number:g}" for number in parsed)
