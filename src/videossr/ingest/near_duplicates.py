"""Videos that show the same in other bytes: another encoding, another size. They must not be in both halves of a split.

Two videos are alike where they last equally long and a picture of each has nearly the same gradient signs ("dHash": 256
bits that survive scaling and encoding). The first picture is compared, or where it is black or plain, as before a
fade-in, the first of a few later ones that is not; where that one is faint, the first clear one as well. A video that
shows no structure for long is like no other. What is not found: cuts of a longer video, and copies with another
beginning.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from videossr.ingest.signature import VisualSignature

MAX_DIFFERENT_BITS = (
    15  # fewer than the 16 rows, so that two that are alike have one row in common: pairs are found by it
)
MAX_LENGTHS_APART = 0.01  # of the longer; another encoding drops or adds a frame or two
_ROWS = 16
_NEIGHBOURS = 64  # of a video, among those that share a row: what bounds the comparisons where very many share it

_Numbers = npt.NDArray[np.int64]


def group_near_duplicates(items: Sequence[VisualSignature]) -> list[int]:
    """For each item the number of the first one that it is like, directly or through others.

    Time and memory grow with the number of items, not with that of pairs: of more than 64 videos that share a row of
    the picture, only those are compared that are near each other in an order by the rows that follow.
    """
    numbers = np.repeat(np.arange(len(items)), [len(item.bits) // (2 * _ROWS) for item in items])
    rows = np.frombuffer(b"".join(item.bits for item in items), np.uint16).reshape(-1, _ROWS)
    seconds = np.array([items[number].duration_seconds for number in numbers.tolist()], np.float64)
    first = np.arange(len(numbers))
    second_looks = np.flatnonzero(numbers[1:] == numbers[:-1]) + 1
    _unite(first, second_looks - 1, second_looks)
    for place in range(_ROWS):
        rotated = np.roll(rows, -place, axis=1)
        order = np.lexsort((seconds, *rotated.T[::-1]))
        for a, b in _pairs_that_share_a_row(rotated[order, 0]):
            _unite(first, *_those_alike(rows, seconds, first, order[a], order[b]))
    groups = np.arange(len(items))
    groups[numbers] = numbers[first]
    return groups.tolist()


def _pairs_that_share_a_row(row: npt.NDArray[np.uint16]) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Places of neighbours in the sorted `row`, at most `_NEIGHBOURS` apart, that hold the same; by their distance."""
    places = np.arange(len(row))
    for distance in range(1, _NEIGHBOURS + 1):
        places = places[places < len(row) - distance]
        places = places[row[places] == row[places + distance]]
        if len(places) == 0:
            return
        yield places, places + distance


def _those_alike(
    rows: npt.NDArray[np.uint16], seconds: npt.NDArray[np.float64], first: _Numbers, a: _Numbers, b: _Numbers
) -> tuple[_Numbers, _Numbers]:
    """The pairs that are alike and not yet of one group."""
    apart = first[a] != first[b]
    a, b = a[apart], b[apart]
    near = np.abs(seconds[a] - seconds[b]) <= MAX_LENGTHS_APART * np.maximum(seconds[a], seconds[b])
    a, b = a[near], b[near]
    alike = np.bitwise_count(rows[a] ^ rows[b]).sum(axis=1) <= MAX_DIFFERENT_BITS
    return a[alike], b[alike]


def _unite(first: _Numbers, a: _Numbers, b: _Numbers) -> None:
    """Let the groups of each pair be one, in place; `first` names the first member of each one's group."""
    while len(a):
        low, high = np.minimum(first[a], first[b]), np.maximum(first[a], first[b])
        np.minimum.at(first, high, low)
        while np.any(first[first] != first):
            first[:] = first[first]
        apart = first[a] != first[b]
        a, b = a[apart], b[apart]
