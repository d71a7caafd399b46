"""From items to prompts: the questions of a video together, with the frames that the policy sees."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from videossr.clip import Clip
from videossr.errors import ConfigError, DecodeError
from videossr.evaluation.benchmarks import PROTOCOLS, FoundVideos, Item, Items, VideoRef, render_prompt_text
from videossr.evaluation.downstream.frames import FrameBudget, load_clips
from videossr.frames.store import FrameStore
from videossr.models.policy import Prompt, render_prompt
from videossr.pretext import TASKS
from videossr.records import Sample

STORED = FrameBudget(num_frames=48)  # of VIUBench, whose frames a data set stores, at most 512x512

Batch = tuple[Item, ...]
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Questions:
    """How the items of a benchmark become prompts: protocol, frames, and where the videos are."""

    items: Items
    videos: FoundVideos
    protocol: str
    budget: FrameBudget

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"a protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol!r}")

    @property
    def frames(self) -> FrameBudget:
        """The budget as the protocol shares it among the videos of a question; VIUBench shows its stored frames."""
        if self.items.benchmark.family == "pretext":
            return STORED
        return replace(self.budget, shared=self.items.benchmark.prompts[self.protocol].frames == "shared")

    @property
    def digest(self) -> str:
        """SHA-256 over the exact text of every prompt and the protocol's system prompt, hex."""
        state = hashlib.sha256(self.items.benchmark.prompts[self.protocol].system.encode())
        for item in self.items:
            state.update(render_prompt_text(self.items.benchmark, item, self.protocol).encode() + b"\0")
        return state.hexdigest()

    def prepare(self, batch: Batch) -> tuple[list[tuple[Item, Prompt]], dict[str, str]]:
        """The prompts of a batch, and the errors of the items whose video cannot be read, by id.

        Items of the same videos have one tuple of clips in common, which is read once.
        """
        prompts: list[tuple[Item, Prompt]] = []
        errors: dict[str, str] = {}
        for _, group in groupby(batch, key=_group_key):
            together = list(group)
            try:
                prompts += [(item, self._prompt(item, clips)) for item, clips in self._with_clips(together)]
            except DecodeError as error:
                errors |= {item.id: str(error) for item in together}
        return prompts, errors

    def _with_clips(self, together: Sequence[Item]) -> list[tuple[Item, tuple[Clip, ...]]]:
        if together[0].task:
            store = FrameStore(self.videos.present[together[0].videos[0].path])
            return [(item, _edited(item, store)) for item in together]
        paths = [self.videos.present[ref.path] for ref in together[0].videos]
        clips = load_clips(together[0], paths, self.frames)
        return [(item, clips) for item in together]

    def _prompt(self, item: Item, clips: tuple[Clip, ...]) -> Prompt:
        prompts = self.items.benchmark.prompts[self.protocol]
        text = render_prompt_text(self.items.benchmark, item, self.protocol)
        return Prompt(text, clips, prompts.system, prompts.reply_tokens)


def _edited(item: Item, store: FrameStore) -> tuple[Clip, ...]:
    """The clips of a question of VIUBench, whose edit is drawn from the stored frames."""
    sample = Sample(
        sample_id=item.id,
        task=item.task,
        variant=item.groups["variant"][0],
        video_id=item.videos[0].path,
        edit=json.loads(item.prompt_values["edit"]),
        question=item.question,
        answer=item.answer,
    )
    return render_prompt(sample, TASKS[item.task](), store).clips


def plan_batches(items: Sequence[Item], batch_size: int) -> list[Batch]:
    """All items sorted by video, in batches of at most `batch_size` that divide the questions of few videos."""
    batches: list[Batch] = []
    current: Batch = ()
    for _, group in groupby(sorted(items, key=_order), key=_group_key):
        together = tuple(group)
        if current and len(current) + len(together) > batch_size:
            batches.append(current)
            current = ()
        current += together
        while len(current) > batch_size:
            batches.append(current[:batch_size])
            current = current[batch_size:]
    return [*batches, current] if current else batches


def prepare_ahead(prepare: Callable[[Batch], Prepared], batches: Sequence[Batch]) -> Iterator[tuple[Batch, Prepared]]:
    """`prepare` of each batch, in order; a thread reads the videos of the next batch while the caller has this one."""
    with ThreadPoolExecutor(1) as thread:
        coming = None
        for place, batch in enumerate(batches):
            current = coming or thread.submit(prepare, batch)
            coming = thread.submit(prepare, batches[place + 1]) if place + 1 < len(batches) else None
            yield batch, current.result()


def _group_key(item: Item) -> tuple[VideoRef, ...]:
    return item.videos


def _order(item: Item) -> tuple[object, ...]:
    return [(ref.path, ref.start_seconds or 0, ref.end_seconds or 0) for ref in item.videos], item.id
