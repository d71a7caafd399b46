"""A folder with one page and data files, to look at questions one by one: frames, answers, replies.

The page works from a file as well as from a server: it runs no other script than its own, and loads nothing but the
files of its folder. A page opened from a file may not fetch others, so the data files are scripts that call a function:
`data/rows-*.js` has what the list shows and searches, `data/items-*.js` the rest, loaded when an item is opened.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from videossr.errors import ConfigError
from videossr.evaluation.downstream.comparison import RIGHT
from videossr.pages import render_template
from videossr.records import VIDEO_MARKER
from videossr.report.item_frames import FrameStrip
from videossr.storage.atomic import atomic_folder, write_text

ROWS_PER_FILE = 2000
ITEMS_PER_FILE = 200

_PAGE, _META = "index.html", "meta.js"
_QUESTION_CHARACTERS, _REPLY_CHARACTERS = 300, 200  # of each that the list holds, and the search sees


class PageItem(Protocol):
    """One question as the page shows it.

    `source` is the benchmark or set that it is from. `values` are those of the replies in 0..1, None where a reply
    could not be read or there is none. `detail` is the JSON of what is loaded when the item is opened.
    """

    @property
    def source(self) -> str: ...
    @property
    def item_id(self) -> str: ...
    @property
    def groups(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def replies(self) -> Sequence[str | None]: ...
    @property
    def values(self) -> Sequence[float | None]: ...
    @property
    def detail(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class PageForm:
    """What a page says about its items as a whole.

    `names` are those of the policies, `source` the word for what items are from, `files` the headers of the files of
    replies. Each of `facets`, names of groups, has a field to filter by; without any, one field has all groups. With
    `hides_answers`, an answer is shown on request.
    """

    title: str
    names: Sequence[str]
    source: str = "benchmark"
    facets: Sequence[str] = ()
    hides_answers: bool = False
    files: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Names:
    """Numbers of texts that many rows repeat."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


def write_browser(
    out: Path, items: Sequence[PageItem], form: PageForm, strips_of: Callable[[int], Sequence[FrameStrip]]
) -> None:
    """Write the page and its files to the folder `out`, replacing a page that is there. Equal inputs give equal bytes.

    `strips_of` gives the frames to show, one strip a video, for the place of an item in `items`; it is called once for
    each, in order. Raises ConfigError where `out` holds anything else.
    """
    if out.exists() and any(out.iterdir()) and not (out / "data" / _META).is_file():
        raise ConfigError(f"{out} must be a new folder or hold an item browser, it holds other files: name another")
    with atomic_folder(out) as folder:
        labels = _Names()
        for number, rows in enumerate(_chunks(items, ROWS_PER_FILE)):
            _write_call(folder / f"data/rows-{number:05}.js", "rows", [_row(each, labels) for each in rows])
        for number, part in enumerate(_chunks(items, ITEMS_PER_FILE)):
            start = number * ITEMS_PER_FILE
            details = [_detail(each, strips_of(start + place), folder) for place, each in enumerate(part)]
            _write_call(folder / f"data/items-{number:05}.js", "items", number, details)
        _write_call(folder / "data" / _META, "meta", _meta(len(items), form, labels))
        write_text(folder / _PAGE, render_template("browse.html", form=form))


def question_text(question: str) -> str:
    """A question without its markers of videos."""
    lines = (line for line in question.splitlines() if line.strip() != VIDEO_MARKER)
    return "\n".join(lines).replace(VIDEO_MARKER, "").strip()


def _meta(count: int, form: PageForm, labels: _Names) -> dict[str, Any]:
    """What the page must know before it loads a row: sizes, names, and the header of each file of replies."""
    return {
        "count": count,
        "rowsPerFile": ROWS_PER_FILE,
        "itemsPerFile": ITEMS_PER_FILE,
        "names": list(form.names),
        "facets": list(form.facets),
        "hidesAnswers": form.hides_answers,
        "labels": list(labels.numbers),
        "right": RIGHT,
        "files": dict(form.files),
    }


def _row(each: PageItem, labels: _Names) -> list[Any]:
    """Source, id, groups, values, question, answer, replies: what the list shows, filters and searches."""
    return [
        labels.number(each.source),
        each.item_id,
        [[labels.number(name), labels.number(value)] for name, values in each.groups.items() for value in values],
        [None if value is None else round(value, 3) for value in each.values],
        each.question[:_QUESTION_CHARACTERS],
        each.answer,
        [(reply or "")[:_REPLY_CHARACTERS] for reply in each.replies],
    ]


def _detail(each: PageItem, strips: Sequence[FrameStrip], folder: Path) -> dict[str, Any]:
    for strip in strips:
        strip.write(folder / "frames")
    return {**each.detail, "strips": [strip.as_json() for strip in strips]}


def _chunks(items: Sequence[PageItem], size: int) -> Iterator[Sequence[PageItem]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _write_call(path: Path, function: str, *arguments: Any) -> None:
    """A script that hands over JSON; in ASCII, so that no character of a reply can end it."""
    given = ",".join(json.dumps(each, ensure_ascii=True, separators=(",", ":")) for each in arguments)
    write_text(path, f"{function}({given})\n")
