"""One record of a benchmark's file becomes one item."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from videossr.evaluation.benchmarks.entries import Fields, Layout, Part
from videossr.evaluation.benchmarks.items import Fault, Item, VideoRef
from videossr.evaluation.benchmarks.options import Options, read_answer, read_options
from videossr.pretext import TASKS
from videossr.records import VIDEO_MARKER
from videossr.rewards import Interval

Row = Mapping[str, Any]


_NO_WINDOWS: tuple[Interval, ...] = ()


class RecordError(Exception):
    """A record cannot become an item; the message is the rule and the value."""


def derive_fields(row: Row, layout: Layout, part: Part, side: Mapping[str, Mapping[str, Row]]) -> dict[str, Any]:
    """The record with what its layout adds: the part's values, parts of its texts, looked-up and side values.

    `side` holds the rows of each side file by key. Raises RecordError where a pattern does not match or a value is not
    in its table.
    """
    fields = {**row, **part.values}
    for name, pattern in layout.patterns.items():
        text = str(_value(fields, name))
        match = re.fullmatch(pattern, text, re.DOTALL)
        if match is None:
            raise RecordError(f"'{name}' must have the form {pattern}, got {text!r:.80}")
        fields |= match.groupdict("")
    for name, table in layout.lookups.items():
        key = str(_value(fields, name))
        if key not in table:
            raise RecordError(f"'{name}' must be one of {', '.join(table)}, got {key!r:.80}")
        fields[f"{name}_lookup"] = table[key]
    for file in layout.side_files:
        found = side.get(file.path, {}).get(str(_value(fields, file.on)), {})
        fields |= {new: found[column] for new, column in file.take.items() if column in found}
    return fields


def build_item(row: Row, layout: Layout, part: Part) -> tuple[Item, list[Fault]]:
    """The item of a record with all its fields, and the rules that its published form breaks.

    Raises RecordError where a field is missing or cannot be read.
    """
    fields = layout.fields
    item_id, question = _filled(fields.id, row), _question(row, layout)
    faults: list[Fault] = []
    options, windows = Options((), ()), _NO_WINDOWS
    if layout.answer == "order":
        answer = _order(_value(row, fields.answer))
    elif layout.answer == "pretext":
        answer = str(_value(row, fields.answer))
    elif layout.answer == "windows":
        windows = _windows(_value(row, fields.answer))
        answer = "; ".join(f"{start:g}-{end:g}" for start, end in windows)
    else:
        options = _options(row, layout.fields.options, part.options or layout.options, question)
        faults += [Fault(rule, item_id, "its options are read by position") for rule in options.faults]
        answer = str(_value(row, fields.answer))
        try:
            answer = read_answer(layout.answer, _value(row, fields.answer), options)
        except ValueError as error:
            faults.append(Fault("answer_not_a_label", item_id, str(error)))
    videos = _videos(row, fields)
    if fields.task:
        videos *= question.count(VIDEO_MARKER)  # a jigsaw shows several clips of its video
    item = Item(
        id=item_id,
        videos=videos,
        question=question,
        answer=answer,
        labels=options.labels,
        options=options.texts,
        windows=windows,
        duration_seconds=_optional_number(row, fields.duration_seconds),
        groups={name: _group(row, field, fields.split) for name, field in fields.groups.items() if field in row},
        cluster=_filled(fields.cluster, row) if fields.cluster else "|".join(video.path for video in videos),
        pair=_filled(fields.pair, row) if fields.pair else "",
        kind=part.kind or ("yes_no" if {label.lower() for label in options.labels} == {"yes", "no"} else ""),
        prompt_values={name: str(_value(row, name)) for name in fields.prompt_values},
        task=_task(row, fields.task),
    )
    return item, faults


def _value(row: Row, name: str) -> Any:
    if name not in row:
        raise RecordError(f"every record needs the field '{name}', got {', '.join(map(str, row))}")
    return row[name]


def _filled(template: str, row: Row) -> str:
    return template.format_map({name: _value(row, name) for name in _names(template)})


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def _question(row: Row, layout: Layout) -> str:
    question = _filled(layout.fields.question, row).strip()
    for ending in layout.strip:
        question = question.removesuffix(ending).rstrip()
    return question


def _options(row: Row, name: str, form: str, question: str) -> Options:
    published = _value(row, name) if name else None
    try:
        return read_options(form, published, question)
    except ValueError as error:
        raise RecordError(str(error)) from None


def _videos(row: Row, fields: Fields) -> tuple[VideoRef, ...]:
    """One reference for each template; none for a template with a null field (a third video that is not there)."""
    templates = [text for text in fields.videos if all(_value(row, name) is not None for name in _names(text))]
    bounds = [_optional_number(row, name) for name in (fields.start_seconds, fields.end_seconds)]
    rate = _optional_number(row, fields.frames_per_second)
    return tuple(VideoRef(_filled(text, row), bounds[0], bounds[1], rate) for text in templates)


def _optional_number(row: Row, name: str) -> float | None:
    """The number of a field; None where the layout has no such field, or the record has none or leaves it empty."""
    if not name or row.get(name) in (None, ""):
        return None
    return _number(row[name], name)


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RecordError(f"'{name}' must be a number, got {value!r:.60}") from None


def _group(row: Row, name: str, split: tuple[str, ...]) -> tuple[str, ...]:
    value = row[name]
    if isinstance(value, list):
        return tuple(map(str, value))
    return tuple(str(value).split(";")) if name in split else (str(value),)


def _task(row: Row, name: str) -> str:
    if not name:
        return ""
    task = str(_value(row, name))
    if task not in TASKS:
        raise RecordError(f"'{name}' must be one of {', '.join(TASKS)}, got {task!r:.60}")
    return task


def _order(published: Any) -> str:
    """Clip numbers from 1, from a list of clip numbers from 0."""
    if not isinstance(published, list) or sorted(map(str, published)) != sorted(map(str, range(len(published)))):
        raise RecordError(f"an order must be a permutation of the clips from 0, got {published!r:.60}")
    return ",".join(str(int(clip) + 1) for clip in published)


def _windows(published: Any) -> tuple[Interval, ...]:
    if not isinstance(published, list) or not published or not all(_is_pair(window) for window in published):
        raise RecordError(f"the windows must be a list of [start, end], got {published!r:.60}")
    return tuple((_number(start, "start"), _number(end, "end")) for start, end in published)


def _is_pair(window: Any) -> bool:
    return isinstance(window, list | tuple) and len(window) == 2
