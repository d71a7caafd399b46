"""A policy put to its questions: asked in batches, judged by the tasks' own metrics, stored as the replies come.

The file of an evaluation is JSON Lines: a header that says which samples were put to which policy, then one reply a
line in the samples' order. A run that is killed goes on after its last whole batch; a file that belongs to other
samples or to another policy is begun anew. Only replies are trusted on the way back in: scores are computed again.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from videossr import rewards
from videossr.clip import Clip
from videossr.errors import ConfigError
from videossr.models.policy import Policy, render_prompt
from videossr.pretext import PretextTask
from videossr.records import Sample, ScoredReply
from videossr.storage.atomic import atomic_file
from videossr.storage.jsonl import append_jsonl, read_jsonl

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateParams:
    """Params section `evaluate`: questions a batch; resamples and seed of the bootstrap and of the random guess."""

    batch_size: int = 16
    bootstrap_samples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.bootstrap_samples < 100:
            raise ConfigError(f"bootstrap_samples must be at least 100 for an interval, got {self.bootstrap_samples}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")


def evaluate(
    policy: Policy,
    samples: Sequence[Sample],
    store: Mapping[str, Clip],
    tasks: Mapping[str, PretextTask],
    out: Path,
    *,
    batch_size: int,
    policy_id: str,
    progress: bool = True,
) -> list[ScoredReply]:
    """Ask `policy` every sample's question and judge every reply; one `ScoredReply` a sample, in the samples' order.

    Clips are rendered a batch at a time. Each batch is on disk in `out` before the next is asked. `policy_id` tells
    one policy from another (`folder_digest` of its folder). A reply that does not parse scores 0 and stays.
    Batches begin at multiples of `batch_size` also after a kill, so padding, and with it every reply, is the same.
    """
    header = {"samples": samples_digest(samples), "policy": policy_id}
    replies = _stored_replies(out, header)
    replies = replies[: len(samples) if len(replies) >= len(samples) else len(replies) // batch_size * batch_size]
    scored = [score_reply(sample, reply) for sample, reply in zip(samples, replies, strict=False)]
    write_scored_replies(out, scored, header)
    with tqdm(total=len(samples), initial=len(scored), desc=out.stem, unit="question", disable=not progress) as bar:
        for start in range(len(scored), len(samples), batch_size):
            batch = samples[start : start + batch_size]
            judged = _ask(policy, batch, store, tasks)
            append_jsonl(out, map(dataclasses.asdict, judged), sync=True)
            scored += judged
            bar.update(len(batch))
    _log_unparsed(out.stem, scored)
    return scored


def score_reply(sample: Sample, reply: str) -> ScoredReply:
    """Score one reply with the task's VIUBench metric, 0..1. An unparsable reply is a wrong one, and is marked."""
    return ScoredReply(
        sample_id=sample.sample_id,
        task=sample.task,
        variant=sample.variant,
        video_id=sample.video_id,
        answer=sample.answer,
        reply=reply,
        parsed=rewards.parsed(sample.task, reply, sample.answer),
        score=rewards.metric(sample.task, reply, sample.answer),
    )


def samples_digest(samples: Sequence[Sample]) -> str:
    """Hex SHA-256 over every field of every sample, in order: other questions, another digest."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps(dataclasses.asdict(sample), sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def write_scored_replies(path: Path, scored: Sequence[ScoredReply], header: Mapping[str, str]) -> None:
    """Write a whole evaluation at once: a temporary file beside it, then a rename."""
    with atomic_file(path) as temporary:
        append_jsonl(temporary, [{"header": dict(header)}, *map(dataclasses.asdict, scored)], sync=True)


def read_scored_replies(path: Path) -> list[ScoredReply]:
    """Read the finished or unfinished file of an evaluation; a torn last line is left out."""
    return [ScoredReply(**row) for row in read_jsonl(path)[1:]]


def _ask(
    policy: Policy, batch: Sequence[Sample], store: Mapping[str, Clip], tasks: Mapping[str, PretextTask]
) -> list[ScoredReply]:
    prompts = [render_prompt(sample, tasks[sample.task], store) for sample in batch]
    return [score_reply(sample, reply) for sample, reply in zip(batch, policy.respond(prompts), strict=True)]


def _stored_replies(path: Path, header: Mapping[str, str]) -> list[str]:
    lines = read_jsonl(path)
    if not lines:
        return []
    if lines[0].get("header") != header:
        logger.warning("%s holds replies of another policy or to other questions: it is begun anew", path)
        return []
    return [row["reply"] for row in lines[1:]]


def _log_unparsed(name: str, scored: Sequence[ScoredReply]) -> None:
    unparsed = sum(not item.parsed for item in scored)
    if unparsed:
        logger.info("%s: %d of %d replies did not parse and scored 0", name, unparsed, len(scored))
