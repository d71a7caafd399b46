"""Near-duplicates: videos with the same content in other bytes (another encoding, another size).

All of them must be in one split. Two videos are near-duplicates where their durations are nearly equal and a picture of
each has nearly the same gradient signs ("dHash": 256 bits that survive scaling and encoding). `signature` chooses the
pictures. A video whose pictures all have low contrast has no near-duplicate. Not found: cuts of a longer video, and
copies with another beginning.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from videossr.ingest.signature import VisualSignature

# Fewer than the 16 rows of a hash: two near-duplicates then have an equal row, by which the pair is found.
MAX_DIFFERENT_BITS = 15
MAX_DURATION_DIFFERENCE = 0.01  # as a fraction of the longer; another encoding drops or adds a frame or two
_NUM_ROWS = 16  # two bytes each
_MAX_NEIGHBOURS = 64  # bounds the comparisons of a hash where very many hashes share a row

_Indices = npt.NDArray[np.int64]


def group_near_duplicates(signatures: Sequence[VisualSignature]) -> list[int]:
    """For each video the index of the first video of its group: those it is a near-duplicate of, directly or through
    others.

    Time and memory grow with the number of videos, not of pairs: among hashes that share a row, each is compared only
    with the next 64 in an order by the rows that follow.
    """
    num_hashes = [len(signature.bits) // (2 * _NUM_ROWS) for signature in signatures]
    video_of = np.repeat(np.arange(len(signatures)), num_hashes)  # hash -> video
    hashes = np.frombuffer(b"".join(signature.bits for signature in signatures), np.uint16).reshape(-1, _NUM_ROWS)
    seconds = np.array([signature.duration_seconds for signature in signatures], np.float64)[video_of]
    groups = np.arange(len(signatures))
    for position in range(_NUM_ROWS):
        rotated = np.roll(hashes, -position, axis=1)
        order = np.lexsort((seconds, *rotated.T[::-1]))
        for i, j in _iter_neighbours(rotated[order, 0]):
            a, b = order[i], order[j]
            is_apart = groups[video_of[a]] != groups[video_of[b]]
            a, b = a[is_apart], b[is_apart]
            is_pair = _are_near_duplicates(hashes, seconds, a, b)
            if is_pair.any():
                groups = _merge(groups, video_of[a[is_pair]], video_of[b[is_pair]])
    return groups.tolist()


def _iter_neighbours(row: npt.NDArray[np.uint16]) -> Iterator[tuple[_Indices, _Indices]]:
    """Index pairs of equal values in the sorted `row`, one batch for each distance up to `_MAX_NEIGHBOURS`."""
    starts = np.arange(len(row))
    for distance in range(1, _MAX_NEIGHBOURS + 1):
        starts = starts[starts < len(row) - distance]
        starts = starts[row[starts] == row[starts + distance]]
        if len(starts) == 0:
            return
        yield starts, starts + distance


def _are_near_duplicates(
    hashes: npt.NDArray[np.uint16], seconds: npt.NDArray[np.float64], a: _Indices, b: _Indices
) -> npt.NDArray[np.bool_]:
    """Whether the hashes `a[i]` and `b[i]` belong to near-duplicates, bool [N]."""
    are_equally_long = np.abs(seconds[a] - seconds[b]) <= MAX_DURATION_DIFFERENCE * np.maximum(seconds[a], seconds[b])
    num_different_bits = np.bitwise_count(hashes[a] ^ hashes[b]).sum(axis=1)
    return np.asarray(are_equally_long & (num_different_bits <= MAX_DIFFERENT_BITS))


def _merge(groups: _Indices, a: _Indices, b: _Indices) -> _Indices:
    """Merge the groups of the videos `a[i]` and `b[i]`; returns for each video the first video of its group."""
    edges = np.concatenate([a, np.arange(len(groups))]), np.concatenate([b, groups])
    graph = coo_matrix((np.ones(len(edges[0]), np.bool_), edges), shape=(len(groups), len(groups)))
    _, components = connected_components(graph, directed=False)
    _, first = np.unique(components, return_index=True)
    return first[components]
