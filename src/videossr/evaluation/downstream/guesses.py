"""The random guess at the questions of a benchmark: the row that shows what knowing nothing scores."""

import hashlib

import numpy as np

from videossr.evaluation.benchmarks import Item, Items
from videossr.evaluation.downstream.store import ReplyStore, StoredReply


def guess_answers(items: Items, seed: int) -> dict[str, str]:
    """A reply for each item, by id: a label or an order drawn uniformly, for grounding the whole video.

    Where the length of the video is not known, the reply is that it is not: it cannot be read, and scores 0.
    """
    return {item.id: _guess(item, _rng(seed, item.id)) for item in items}


def write_guesses(store: ReplyStore, guesses: dict[str, str]) -> None:
    """Add guesses to a store, in the format of a policy's replies; none was shown a frame."""
    store.add([StoredReply(item_id, reply) for item_id, reply in guesses.items()], {})


def _guess(item: Item, rng: np.random.Generator) -> str:
    if item.windows:
        known = item.duration_seconds is not None
        return f"0.0 - {item.duration_seconds:.1f}" if known else "the length of the video is not known"
    if item.labels:
        return item.labels[int(rng.integers(len(item.labels)))]
    return ",".join(map(str, rng.permutation(len(item.order)) + 1))


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])
