"""Evaluation of a policy on samples: generate replies in batches, score them, store each batch when it is complete.

The file of an evaluation is JSON lines: a header that identifies the samples and the policy, then one reply per line,
in the order of the samples. A run that was killed continues after its last complete batch. If the header names other
samples or another policy, the run starts from the first question. Stored scores are ignored: every stored reply is
scored again.
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
    """Params section `evaluate`: questions per batch, resamples of the bootstrap, and the seed.

    The bootstrap and the random guess share the seed.
    """

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
    """Generate and score the reply of `policy` to every sample; returns one `ScoredReply` per sample, in their order.

    Clips are rendered one batch at a time. Each batch is on disk in `out` before the next one starts. `policy_id`
    identifies the policy (`folder_fingerprint` of its checkpoint folder). A reply that does not parse scores 0 and
    stays in the results.
    """
    header = {"samples": samples_digest(samples), "policy": policy_id}
    replies = _read_replies(out, header)
    if len(replies) < len(samples):
        # Continue at a multiple of `batch_size`: the same batches give the same padding, and so the same replies.
        replies = replies[: len(replies) // batch_size * batch_size]
    scored = [score_reply(sample, reply) for sample, reply in zip(samples, replies, strict=False)]
    write_scored_replies(out, scored, header)
    with tqdm(total=len(samples), initial=len(scored), desc=out.stem, unit="question", disable=not progress) as bar:
        for start in range(len(scored), len(samples), batch_size):
            batch = samples[start : start + batch_size]
            scored_batch = _evaluate_batch(policy, batch, store, tasks)
            append_jsonl(out, map(dataclasses.asdict, scored_batch), sync=True)
            scored += scored_batch
            bar.update(len(batch))
    _log_unparsed_replies(out.stem, scored)
    return scored


def score_reply(sample: Sample, reply: str) -> ScoredReply:
    """Score one reply with the task's VIUBench metric, 0..1; a reply that does not parse scores 0."""
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
    """Hex SHA-256 over every field of every sample, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps(vars(sample), sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def write_scored_replies(path: Path, scored: Sequence[ScoredReply], header: Mapping[str, str]) -> None:
    """Replace the file of an evaluation atomically by `header` and the replies `scored`."""
    with atomic_file(path) as temporary:
        append_jsonl(temporary, [{"header": dict(header)}, *map(dataclasses.asdict, scored)], sync=True)


def read_scored_replies(path: Path) -> list[ScoredReply]:
    """Read a complete or incomplete file of an evaluation, up to the first damaged line."""
    return [ScoredReply(**row) for row in read_jsonl(path)[1:]]


def _evaluate_batch(
    policy: Policy, batch: Sequence[Sample], store: Mapping[str, Clip], tasks: Mapping[str, PretextTask]
) -> list[ScoredReply]:
    prompts = [render_prompt(sample, tasks[sample.task], store) for sample in batch]
    return [score_reply(sample, reply) for sample, reply in zip(batch, policy.respond(prompts), strict=True)]


def _read_replies(path: Path, header: Mapping[str, str]) -> list[str]:
    """The replies in `path`; none if the file is missing or has another header."""
    lines = read_jsonl(path)
    if not lines:
        return []
    if lines[0].get("header") != header:
        logger.warning("%s holds replies of another policy or to other samples: all replies are generated again", path)
        return []
    return [row["reply"] for row in lines[1:]]


def _log_unparsed_replies(name: str, scored: Sequence[ScoredReply]) -> None:
    num_unparsed = sum(not item.parsed for item in scored)
    if num_unparsed:
        logger.info("%s: %d of %d replies did not parse and scored 0", name, num_unparsed, len(scored))
