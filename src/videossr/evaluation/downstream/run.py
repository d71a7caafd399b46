"""Ask a policy all questions of a benchmark, and keep every reply."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videossr.errors import ConfigError
from videossr.evaluation.benchmarks import FoundVideos, Items
from videossr.evaluation.downstream.frames import FrameBudget
from videossr.evaluation.downstream.questions import Batch, Questions, plan_batches, prepare_ahead
from videossr.evaluation.downstream.store import Header, ReplyStore, StoredReply, VideoTimes, read_store
from videossr.models.policy import FailedReply, FalliblePolicy, Prompt


@dataclass(frozen=True)
class Answers:
    """The replies of a policy to a benchmark, as stored in `path` under `header`.

    `replies`, `errors` (of items without a reply) and `times` (seconds of the frames shown, for each video) are by the
    id of the item. `missing` are the paths of videos that are not on this machine: their items were not asked.
    """

    path: Path
    header: Header
    replies: Mapping[str, str]
    errors: Mapping[str, str]
    times: Mapping[str, VideoTimes]
    missing: tuple[str, ...] = ()

    @property
    def for_scoring(self) -> dict[str, str | None]:
        """The replies as `benchmarks.score` takes them: None for a failed attempt, no entry for a missing video."""
        return {**dict.fromkeys(self.errors), **self.replies}


def answer_items(
    policy: FalliblePolicy,
    items: Items,
    videos: FoundVideos,
    out_folder: Path,
    *,
    budget: FrameBudget,
    protocol: str,
    policy_id: str,
    batch_size: int,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Answers:
    """Ask `policy` the questions that have their videos and no reply yet in `out_folder`; returns all answers to them.

    `policy_id` identifies the policy (`folder_fingerprint` of its checkpoint). `limit` takes the first questions of the
    file alone. `shard` is (number, count): the part of the questions that this process asks. The questions of a video
    follow one another, in batches that depend on the items alone: neither on what was answered before nor on `shard`.
    After a batch its replies are on disk. An item that fails is counted, and tried again by the next call.

    Raises ConfigError for an unknown protocol or a wrong number, StoreError where a store cannot be used.
    """
    _check_numbers(batch_size, limit, shard)
    questions = Questions(items, videos, protocol, budget)
    store = ReplyStore(out_folder, make_header(policy, questions, policy_id))
    asked = items.first(limit)
    shown = [item for item in asked if item.id not in videos.items_missing]
    batches = plan_batches(shown, batch_size)[shard[0] :: shard[1]]
    with store.turn(f"{shard[0]}-of-{shard[1]}"):
        _answer_batches(policy, questions, store, batches, progress)
    return _collect(store.path, store.header, store.replies, store.errors, {item.id for item in asked}, videos.missing)


def read_answers(path: Path) -> Answers:
    """The answers in a file of replies. Raises StoreError where it is none."""
    header, replies, errors = read_store(path)
    return _collect(path, header, replies, errors, replies.keys() | errors.keys(), ())


def make_header(policy: FalliblePolicy, questions: Questions, policy_id: str) -> dict[str, Any]:
    """Everything that decides the replies, as JSON: replies under different headers are of different evaluations."""
    benchmark = questions.items.benchmark
    return {
        "benchmark": benchmark.key,
        "revision": questions.items.revision,
        "layout": questions.items.layout_name,
        "items": questions.items.digest,
        "policy": policy_id,
        "frames": asdict(questions.frames),
        "protocol": questions.protocol,
        "prompts": questions.digest,
        "decoding": {
            "reply_tokens": benchmark.prompts[questions.protocol].reply_tokens,
            **getattr(policy, "settings", {}),
        },
    }


def _check_numbers(batch_size: int, limit: int | None, shard: tuple[int, int]) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, got {limit}")
    if not 0 <= shard[0] < shard[1]:
        raise ConfigError(f"a shard must be a number from 0 to below the count, got {shard[0]} of {shard[1]}")


def _answer_batches(
    policy: FalliblePolicy, questions: Questions, store: ReplyStore, batches: list[Batch], progress: bool
) -> None:
    total = sum(map(len, batches))
    left = [tuple(item for item in batch if item.id not in store.replies) for batch in batches]
    left = [batch for batch in left if batch]
    done = total - sum(map(len, left))
    name = questions.items.benchmark.key
    with tqdm(total=total, initial=done, desc=name, unit="question", disable=not progress) as bar:
        for batch, (prompts, errors) in prepare_ahead(questions.prepare, left):
            replies, failures = _ask(policy, [(item.id, prompt) for item, prompt in prompts])
            store.add(replies, errors | failures)
            bar.update(len(batch))


def _ask(policy: FalliblePolicy, prompts: list[tuple[str, Prompt]]) -> tuple[list[StoredReply], dict[str, str]]:
    """The replies to prompts by id, and the errors of those that failed."""
    if not prompts:
        return [], {}
    answered = policy.respond([prompt for _, prompt in prompts])
    replies: list[StoredReply] = []
    failures: dict[str, str] = {}
    for (item_id, prompt), reply in zip(prompts, answered, strict=True):
        if isinstance(reply, FailedReply):
            failures[item_id] = reply.error
        else:
            replies.append(StoredReply(item_id, reply, _times(prompt)))
    return replies, failures


def _times(prompt: Prompt) -> VideoTimes:
    """Seconds of the frames of each clip, to a millisecond, which is what a model is told."""
    return tuple(tuple(clip.times.round(3).tolist()) for clip in prompt.clips)


def _collect(
    path: Path,
    header: Header,
    replies: Mapping[str, StoredReply],
    errors: Mapping[str, str],
    ids: set[str],
    missing: tuple[str, ...],
) -> Answers:
    kept = {item_id: each for item_id, each in replies.items() if item_id in ids}
    return Answers(
        path=path,
        header=header,
        replies={item_id: each.reply for item_id, each in kept.items()},
        errors={item_id: error for item_id, error in errors.items() if item_id in ids},
        times={item_id: each.times for item_id, each in kept.items()},
        missing=missing,
    )
