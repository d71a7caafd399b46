"""The item browser: a folder with one page and data files, to look at every question with the replies to it.

The page works from a file as well as from a server: it runs no other script than its own, and loads nothing but the
files of its folder. A page opened from a file may not fetch others, so the data files are scripts that call a function:
`data/rows-*.js` has what the list shows and searches, `data/items-*.js` the rest, loaded when an item is opened.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videossr.errors import ConfigError
from videossr.evaluation.benchmarks import Item, ItemScore, item_scores
from videossr.evaluation.downstream.comparison import RIGHT, item_value
from videossr.evaluation.downstream.evaluations import Evaluation
from videossr.pages import render_template
from videossr.records import VIDEO_MARKER
from videossr.report.item_frames import FrameStrip
from videossr.storage.atomic import atomic_folder, write_text

ROWS_PER_FILE = 2000
ITEMS_PER_FILE = 200

_PAGE, _META = "index.html", "meta.js"
_QUESTION_CHARACTERS, _REPLY_CHARACTERS = 300, 200  # of each that the list holds, and the search sees


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


@dataclass
class _Names:
    """Numbers of texts that many rows repeat."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


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
    """Write the browser to the folder `out`, replacing a browser that is there. Equal inputs give equal bytes.

    `names` are those of the policies; `strips` are the frames to show, one strip a video, by the place of an item in
    `items`. Raises ConfigError where `out` holds anything else.
    """
    if out.exists() and any(out.iterdir()) and not (out / "data" / _META).is_file():
        raise ConfigError(f"{out} must be a new folder or hold an item browser, it holds other files: name another")
    with atomic_folder(out) as folder:
        labels = _Names()
        for number, rows in enumerate(_chunks(items, ROWS_PER_FILE)):
            _write_call(folder / f"data/rows-{number:05}.js", "rows", [_row(each, labels) for each in rows])
        for number, part in enumerate(_chunks(items, ITEMS_PER_FILE)):
            start = number * ITEMS_PER_FILE
            details = [_detail(each, (strips or {}).get(start + place, ())) for place, each in enumerate(part)]
            _write_call(folder / f"data/items-{number:05}.js", "items", number, details)
        for strip in {strip.folder: strip for each in (strips or {}).values() for strip in each}.values():
            strip.write(folder / "frames")
        _write_call(folder / "data" / _META, "meta", _meta(items, names, labels))
        write_text(folder / _PAGE, render_template("browse.html", names=list(names)))


def _meta(items: Sequence[BrowserItem], names: Sequence[str], labels: _Names) -> dict[str, Any]:
    """What the page must know before it loads a row: sizes, names, and the header of each file of replies."""
    files = {str(side.path): dict(side.header) for each in items for side in each.evaluations}
    return {
        "count": len(items),
        "rowsPerFile": ROWS_PER_FILE,
        "itemsPerFile": ITEMS_PER_FILE,
        "names": list(names),
        "labels": list(labels.numbers),
        "right": RIGHT,
        "files": files,
    }


def _row(each: BrowserItem, labels: _Names) -> list[Any]:
    """Benchmark, id, groups, values, question, answer, replies: what the list shows, filters and searches.

    A value is null where the reply could not be read, or there is none.
    """
    item = each.item
    groups = [[labels.number(name), labels.number(value)] for name, values in item.groups.items() for value in values]
    return [
        labels.number(each.evaluations[0].key),
        item.id,
        groups,
        [None if score.parsed is None else round(item_value(score), 3) for score in each.scores],
        _question(item)[:_QUESTION_CHARACTERS],
        item.answer,
        [(side.replies.get(item.id) or "")[:_REPLY_CHARACTERS] for side in each.evaluations],
    ]


def _detail(each: BrowserItem, strips: Sequence[FrameStrip]) -> dict[str, Any]:
    item = each.item
    return {
        "question": _question(item),
        "options": [[label, text] for label, text in zip(item.labels, item.options, strict=False)],
        "answer": item.answer,
        "windows": [list(window) for window in item.windows],
        "seconds": item.duration_seconds,
        "videos": [ref.path for ref in item.videos],
        "replies": [
            {
                "text": side.replies.get(item.id),
                "asked": item.id in side.replies,
                "read": None if score.parsed is None else _readable(score.parsed),
                "values": {metric: round(value, 4) for metric, value in score.values.items()},
            }
            for side, score in zip(each.evaluations, each.scores, strict=True)
        ],
        "times": [list(times) for times in each.evaluations[0].times.get(item.id, ())],
        "strips": [strip.as_json() for strip in strips],
    }


def _question(item: Item) -> str:
    lines = (line for line in item.question.splitlines() if line.strip() != VIDEO_MARKER)
    return "\n".join(lines).replace(VIDEO_MARKER, "").strip()


def _readable(parsed: Any) -> str:
    return parsed if isinstance(parsed, str) else ", ".join(f"{number:g}" for number in parsed)


def _chunks(items: Sequence[BrowserItem], size: int) -> Iterator[Sequence[BrowserItem]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _write_call(path: Path, function: str, *arguments: Any) -> None:
    """A script that hands over JSON; in ASCII, so that no character of a reply can end it."""
    given = ",".join(json.dumps(each, ensure_ascii=True, separators=(",", ":")) for each in arguments)
    write_text(path, f"{function}({given})\n")
