"""The questions of a benchmark in one form, whatever its files look like."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from videossr.evaluation.benchmarks.entries import Benchmark, Layout
from videossr.rewards import Interval


@dataclass(frozen=True)
class VideoRef:
    """A video of a question: the path below the folder of videos, and the part of it that is shown, in seconds.

    `path` is a folder of numbered frames where `frames_per_second` is given.
    """

    path: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    frames_per_second: float | None = None

    @property
    def is_frame_folder(self) -> bool:
        return self.frames_per_second is not None


@dataclass(frozen=True)
class Item:
    """One question.

    `labels` are the accepted answers of a choice, with the text of each in `options`. `answer` is one of them; for an
    ordering the clip numbers from 1 in the right order, `2,1,3`; for grounding the windows as text, with the numbers
    in `windows`, seconds. `groups` maps a name to the values that the item belongs to. `cluster` is the source video:
    items of one cluster are not independent. Items of one `pair` are scored together. `kind` selects the prompt and
    `prompt_values` fills it. `task` is the pretext task of a question of VIUBench, whose text holds its own markers of
    videos and whose `edit` is among the prompt values; empty elsewhere.
    """

    id: str
    videos: tuple[VideoRef, ...]
    question: str
    answer: str
    labels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    windows: tuple[Interval, ...] = ()
    duration_seconds: float | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cluster: str = ""
    pair: str = ""
    kind: str = ""
    prompt_values: Mapping[str, str] = field(default_factory=dict)
    task: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        """The clip numbers of an ordering, in the right order."""
        return tuple(int(number) for number in self.answer.split(","))


@dataclass(frozen=True)
class Fault:
    """What is wrong with one item: a rule of `checks.RULES`, and by how much where the rule measures it."""

    rule: str
    item_id: str
    detail: str
    amount: float = 0.0


@dataclass(frozen=True)
class Items(Sequence[Item]):
    """The loaded questions of a benchmark, and the known faults that were met among them.

    `revision` is the commit of the source that their files were fetched at; None for files of unknown origin.
    """

    benchmark: Benchmark
    layout_name: str
    items: tuple[Item, ...]
    faults: tuple[Fault, ...] = ()
    revision: str | None = None

    @property
    def layout(self) -> Layout:
        return self.benchmark.layouts[self.layout_name]

    @property
    def digest(self) -> str:
        """SHA-256 over all items, hex: two loads with the same digest ask and score the same."""
        state = hashlib.sha256()
        for item in self.items:
            state.update(repr(item).encode())
        return state.hexdigest()

    def first(self, count: int | None) -> "Items":
        """The first `count` questions alone; all of them where it is None."""
        return replace(self, items=self.items[:count])

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, place: int | slice) -> Item | tuple[Item, ...]:
        return self.items[place]
