"""Videos that show the same in other bytes: another encoding, another size. They must not be in both halves of a split.

Two videos are alike where they last equally long and their first pictures have nearly the same gradient signs
("dHash": 256 bits that survive scaling and encoding). A picture without structure is like no other. What is not found:
cuts of a longer video, and copies with another beginning.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

MAX_DIFFERENT_BITS = 15  # fewer than the 16 words, so that two that are alike share one: pairs are found by it
MAX_LENGTHS_APART = 0.01  # of the longer; another encoding drops or adds a frame or two
_MIN_CONTRAST = 8.0  # grey levels, standard deviation
_LARGEST_CROWD = 2000  # videos that share a word: beyond it the word says nothing


@dataclass(frozen=True)
class Likeness:
    """What is compared: 256 bits, as 16 words uint16; no words where the picture has no structure."""

    words: tuple[int, ...]
    duration_seconds: float


def likeness(thumbnail: npt.NDArray[np.uint8], duration_seconds: float) -> Likeness:
    """Of a grey thumbnail, uint8 [16, 17], and a length."""
    if thumbnail.std() < _MIN_CONTRAST:
        return Likeness((), duration_seconds)
    bits = np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1])
    return Likeness(tuple(bits.view(np.uint16).tolist()), duration_seconds)


def groups_alike(items: Sequence[Likeness]) -> list[int]:
    """For each item the number of the first one that it is like, directly or through others."""
    first = list(range(len(items)))

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for crowd in _crowds(items):
        for a, b in combinations(crowd, 2):
            if root(a) != root(b) and _alike(items[a], items[b]):
                low, high = sorted((root(a), root(b)))
                first[high] = low
    return [root(number) for number in range(len(items))]


def _crowds(items: Sequence[Likeness]) -> list[list[int]]:
    """Numbers of the items that share a word in the same place."""
    sharing: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        for place_and_word in enumerate(item.words):
            sharing[place_and_word].append(number)
    return [crowd for crowd in sharing.values() if 1 < len(crowd) <= _LARGEST_CROWD]


def _alike(some: Likeness, other: Likeness) -> bool:
    longer = max(some.duration_seconds, other.duration_seconds)
    if abs(some.duration_seconds - other.duration_seconds) > MAX_LENGTHS_APART * longer:
        return False
    pairs = zip(some.words, other.words, strict=True)
    return sum((a ^ b).bit_count() for a, b in pairs) <= MAX_DIFFERENT_BITS
