"""The table of benchmarks, `benchmarks.toml`, as checked, frozen entries.

An entry says where a benchmark comes from, how its published files become items, how a policy is asked, and what is
known about both: expected counts, known faults, published scores. Nothing here opens a file of a benchmark.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal

from videossr import config
from videossr.errors import ConfigError

Family = Literal["choice", "several_videos", "paired", "ordering", "grounding", "pretext"]
PaperGroup = Literal["general", "long", "grounding", "reasoning", "viubench"]
Reader = Literal["records", "keyed", "nested", "children", "dense", "dense_frames", "charades"]
OptionForm = Literal["none", "bare", "lettered", "in_question", "yes_no"]
AnswerForm = Literal["label", "position", "text", "line", "order", "windows", "pretext"]

PROTOCOLS = ("videossr", "official")


@dataclass(frozen=True)
class Part:
    """One file of annotations, found as the first of `paths` that exists, as it is or with `.gz` added.

    `count` is the number of questions expected of it; `rows` limits it to a half-open range of its records. `values`
    are fields added to each record. `kind` selects the prompt of its items where a protocol has several. `options`
    replaces the layout's form of options.
    """

    paths: tuple[str, ...]
    count: int | None = None
    rows: tuple[int, int] | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    options: OptionForm | None = None


@dataclass(frozen=True)
class SideFile:
    """A second file that adds fields to the records: `take` maps a new field to a column of the file.

    The row whose column `key` equals the record's field `on` is used. Without the file the fields are absent.
    """

    path: str
    key: str
    on: str
    take: Mapping[str, str]


@dataclass(frozen=True)
class Fields:
    """How a record becomes an item: names of fields, or templates such as `"{video_id}.mp4"` over them.

    Templates: `id`, `videos` (one for each video; left out where a field in it is null), `question`, `cluster` (the
    source video, by which intervals are clustered; default: the videos), `pair`. Names: all others. `groups` maps the
    name of a group to a field, whose text is split at ";" where where it is in `split`. `task` is for VIUBench.
    """

    id: str
    videos: tuple[str, ...]
    question: str
    answer: str
    options: str = ""
    cluster: str = ""
    pair: str = ""
    start_seconds: str = ""
    end_seconds: str = ""
    duration_seconds: str = ""
    frames_per_second: str = ""
    prompt_values: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    split: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class Layout:
    """One published shape of a benchmark's annotations, and how to read it.

    `patterns` maps a field to a regular expression whose named groups become fields; `lookups` maps a field to a table
    whose value becomes the field `<name>_lookup`. `strip` are endings of a question that its prompt would double;
    `skip` drops records whose field has that value. `videos` is the expected number of distinct source videos. A
    layout that is not `automatic` is another split: it is read only when asked for by name.
    """

    reader: Reader
    parts: tuple[Part, ...]
    fields: Fields
    options: OptionForm = "none"
    answer: AnswerForm = "label"
    children: str = ""
    patterns: Mapping[str, str] = field(default_factory=dict)
    lookups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    side_files: tuple[SideFile, ...] = ()
    strip: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    videos: int | None = None
    automatic: bool = True

    @property
    def count(self) -> int | None:
        """Expected number of questions; None where a part has no expectation."""
        counts = [part.count for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)


@dataclass(frozen=True)
class Prompts:
    """The texts of one protocol: `default`, or the one of an item's kind in `kinds`; source in `source`.

    Templates know `{question}`, `{options}` (one line each, as `option`) and the item's own prompt values. `system`
    replaces the system prompt. `reply_tokens` is the length that a reply needs. With `frames` = `shared`, the videos
    of a question share the number of frames; else each has all of them.
    """

    default: str
    source: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    option: str = "{label}. {text}"
    system: str = ""
    reply_tokens: int = 128
    frames: Literal["each", "shared"] = "each"


@dataclass(frozen=True)
class KnownFault:
    """Faults of the published files that loading expects: those of `ids`, or at most `count` where ids are too many.

    `at_most` bounds the size of each, in the unit of the rule (seconds for windows).
    """

    rule: str
    note: str
    ids: tuple[str, ...] = ()
    count: int = 0
    at_most: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of the table.

    `revision` is the pinned commit of `source`; None where none was known when the entry was written. `published`
    maps `<model>_<frames>` to the scores in percent that the paper gives, by metric. `witness` says which files the
    entry was checked on.
    """

    key: str
    title: str
    paper: str
    paper_group: PaperGroup
    family: Family
    metric: str
    source: str
    licence: str
    obtain: str
    witness: str
    layouts: Mapping[str, Layout]
    prompts: Mapping[str, Prompts]
    published: Mapping[str, Mapping[str, float]]
    revision: str | None = None
    gated: bool = False
    known_faults: tuple[KnownFault, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layouts:
            raise ConfigError("a benchmark needs at least one layout, got none: describe its published file")
        if tuple(self.prompts) != PROTOCOLS:
            raise ConfigError(f"prompts must be those of {', '.join(PROTOCOLS)}, got {', '.join(self.prompts)}")

    @property
    def default_layout(self) -> Layout:
        return next(iter(self.layouts.values()))

    @property
    def count(self) -> int | None:
        """Number of questions that the published files hold; None where no file was seen to know it."""
        return self.default_layout.count


def parse_table(text: str) -> dict[str, Benchmark]:
    """The entries of a table in TOML, by key. Raises ConfigError on an unknown key, a missing one, a wrong type."""
    sections = tomllib.loads(text)
    return {key: config.build(Benchmark, {"key": key, **section}, key) for key, section in sections.items()}


@cache
def shipped_table() -> Mapping[str, Benchmark]:
    """VIUBench and the sixteen public benchmarks of the paper's evaluation, in its order."""
    folder = resources.files("videossr.evaluation.benchmarks")
    return parse_table(folder.joinpath("benchmarks.toml").read_text(encoding="utf-8"))


def benchmark_named(name: str) -> Benchmark:
    """The entry of a key. Raises ConfigError where there is none."""
    table = shipped_table()
    if name not in table:
        raise ConfigError(f"a benchmark must be one of {', '.join(table)}, got {name!r}")
    return table[name]
