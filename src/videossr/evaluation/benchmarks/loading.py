"""Load a benchmark from a local folder and compare it with what was published."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation.benchmarks.build_items import RecordError, build_item, derive_fields
from videossr.evaluation.benchmarks.checks import RULES, find_faults, unexpected
from videossr.evaluation.benchmarks.entries import Benchmark, Layout, Part, benchmark_named
from videossr.evaluation.benchmarks.items import Fault, Item, Items
from videossr.evaluation.benchmarks.readers import Row, find_file, read_rows
from videossr.evaluation.benchmarks.revisions import recorded_revision

_Read = Callable[[Path, str, str], list[Row]]


def load(name: str, folder: Path, *, layout: str | None = None, check: bool = True, counts: bool = True) -> Items:
    """The questions of the benchmark `name` from its published files in `folder`.

    `layout` names one of the entry's layouts; None takes the first automatic one whose files are there. `counts`
    compares the numbers of questions and videos with the published ones: not for a part of a benchmark. `check` stops
    at every fault that the table does not know.

    Raises ConfigError for an unknown name, BenchmarkError where files are missing, damaged, or not the published ones.
    """
    benchmark = benchmark_named(name)
    layout_name = _choose_layout(benchmark, folder, layout)
    chosen = benchmark.layouts[layout_name]
    read = cache(read_rows)  # several parts may lie in one file
    side = {file.path: _side_rows(folder, file.path, file.key) for file in chosen.side_files}
    items: list[Item] = []
    faults: list[Fault] = []
    for part in chosen.parts:
        loaded, met = _load_part(benchmark, chosen, part, folder, read, side)
        if counts and part.count is not None and len(loaded) != part.count:
            raise BenchmarkError(
                f"{benchmark.key}: {_shown(part)} must hold {part.count} questions, got {len(loaded)}: the file is "
                f"incomplete or of another version; get it from {benchmark.source}"
            )
        items += loaded
        faults += met
    faults += find_faults(items)
    if counts:
        _check_videos(benchmark, chosen, items)
    if check:
        _stop_at_unexpected(benchmark, faults)
    return Items(benchmark, layout_name, tuple(items), tuple(faults), recorded_revision(benchmark, folder))


def _choose_layout(benchmark: Benchmark, folder: Path, name: str | None) -> str:
    if name is not None and name not in benchmark.layouts:
        raise ConfigError(f"a layout of {benchmark.key} must be one of {', '.join(benchmark.layouts)}, got {name!r}")
    candidates = [name] if name else [name for name, layout in benchmark.layouts.items() if layout.automatic]
    missing = {each: _missing_parts(benchmark.layouts[each], folder) for each in candidates}
    complete = next((each for each in candidates if not missing[each]), None)
    if complete is not None:
        return complete
    # Of several layouts, the one of which most files are there is the one that the user has.
    nearest = min(candidates, key=lambda each: len(missing[each]) / len(benchmark.layouts[each].parts))
    files = ", ".join(_shown(part) for part in missing[nearest][:3])
    more = f" and {len(missing[nearest]) - 3} more" if len(missing[nearest]) > 3 else ""
    raise BenchmarkError(f"{benchmark.key} needs {files}{more} in {folder}, not found: {benchmark.obtain}")


def _missing_parts(layout: Layout, folder: Path) -> list[Part]:
    return [part for part in layout.parts if find_file(folder, part.paths) is None]


def _shown(part: Part) -> str:
    return " or ".join(part.paths)


def _load_part(
    benchmark: Benchmark, layout: Layout, part: Part, folder: Path, read: _Read, side: Mapping[str, Mapping[str, Row]]
) -> tuple[list[Item], list[Fault]]:
    path = find_file(folder, part.paths)
    assert path is not None  # the layout was chosen by its files
    items: list[Item] = []
    faults: list[Fault] = []
    for place, row in enumerate(_part_rows(read(path, layout.reader, layout.children), part)):
        try:
            fields = derive_fields(row, layout, part, side)
            if any(fields.get(name) == value for name, value in layout.skip.items()):
                continue
            item, met = build_item(fields, layout, part)
        except RecordError as error:
            raise BenchmarkError(
                f"{benchmark.key}: record {place + 1} of {path.name}: {error}; the file is of another benchmark or "
                f"version, get it from {benchmark.source}"
            ) from None
        items.append(item)
        faults += met
    if not items:
        raise BenchmarkError(f"{benchmark.key}: {path} must hold questions, got none: get it from {benchmark.source}")
    return items, faults


def _part_rows(rows: list[Row], part: Part) -> Iterable[Row]:
    if part.rows is None:
        return rows
    return ({**row, "position": place} for place, row in enumerate(rows[slice(*part.rows)]))


def _side_rows(folder: Path, path: str, key: str) -> Mapping[str, Row]:
    found = find_file(folder, (path,))
    if found is None:
        return {}
    rows = read_rows(found, "records")
    if rows and key not in rows[0]:
        raise BenchmarkError(f"{found} must have the column '{key}', got {', '.join(rows[0])}: get the published file")
    return {str(row[key]): row for row in rows}


def _check_videos(benchmark: Benchmark, layout: Layout, items: Iterable[Item]) -> None:
    videos = {ref.path for item in items for ref in item.videos}
    if layout.videos is not None and len(videos) != layout.videos:
        raise BenchmarkError(
            f"{benchmark.key}: the questions must name {layout.videos} videos, got {len(videos)}: the file is of "
            f"another version; get it from {benchmark.source}"
        )


def _stop_at_unexpected(benchmark: Benchmark, faults: Iterable[Fault]) -> None:
    left = unexpected(faults, benchmark.known_faults)
    if left:
        first, more = left[0], f" ({len(left) - 1} more faults)" if len(left) > 1 else ""
        raise BenchmarkError(
            f"{benchmark.key}: {RULES[first.rule]}, but item {first.item_id}: {first.detail}{more}: mend the file, or "
            "load it with check=False"
        )
