"""Which reader a file gets, and why; two readers check each other, and a full decode in order settles it.

The rules are measured (46 clips, all frames against a full decode in order): PyAV was never silently wrong. Decord was,
on open GOPs, edit lists, MPEG-TS and packed B-frames, and it knows no AV1. So PyAV reads, by seeking where the
container has an index to seek by, and decord is the second opinion.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from videossr.decode.clip import Numbers, Pixels
from videossr.decode.decord_reader import read_with_decord
from videossr.decode.probing import Probe
from videossr.decode.pyav_reader import READ_IN_ORDER, read_in_order, read_seeking
from videossr.errors import DecodeError

Decoder = Literal["auto", "decord", "pyav"]

_ALIKE = 2.0  # mean difference in grey levels that two ways of scaling may leave


@dataclass(frozen=True)
class Reading:
    """Who read a file, why, and which readers were found wrong: `pyav_seeking`, `pyav_in_order` or `decord`."""

    reader: str
    why: str
    wrong: tuple[str, ...] = ()


def read_frames(
    path: Path, probed: Probe, index: Numbers, size: tuple[int, int], decoder: Decoder, check: bool = False
) -> tuple[Pixels, Reading]:
    """The frames with the numbers `index`, scaled to `size`, and who read them.

    `check` asks a second reader; where the two disagree, a full decode in order settles it. Raises DecodeError.
    """
    pixels, reading = _first(path, probed, index, size, decoder)
    if not check:
        return pixels, reading
    other = _second_opinion(path, probed, index, size, reading.reader)
    if other is not None and _difference(pixels, other).max() <= _ALIKE:
        return pixels, Reading(reading.reader, f"{reading.why}; a second reader agrees")
    return settled(path, probed, index, size, pixels, other, reading)


def _first(
    path: Path, probed: Probe, index: Numbers, size: tuple[int, int], decoder: Decoder
) -> tuple[Pixels, Reading]:
    kind = f"{probed.codec} in {probed.container}"
    if decoder == "decord":
        return read_with_decord(path, probed, index, size), Reading("decord", "frames.decoder asks for it")
    if probed.container in READ_IN_ORDER:
        return read_in_order(path, probed, index, size), Reading("pyav_in_order", f"{kind} has no index to seek by")
    pixels = read_seeking(path, probed, index, size)
    if pixels is not None:
        return pixels, Reading("pyav_seeking", f"{kind} has an index to seek by")
    why = f"{kind}: seeking met damage, or did not reach a frame"
    return read_in_order(path, probed, index, size), Reading("pyav_in_order", why)


def _second_opinion(path: Path, probed: Probe, index: Numbers, size: tuple[int, int], first: str) -> Pixels | None:
    """What another reader sees; None where it does not read this file."""
    try:
        if first == "decord":
            return read_seeking(path, probed, index, size)
        return read_with_decord(path, probed, index, size)
    except DecodeError:
        return None


def settled(
    path: Path,
    probed: Probe,
    index: Numbers,
    size: tuple[int, int],
    pixels: Pixels,
    other: Pixels | None,
    reading: Reading,
) -> tuple[Pixels, Reading]:
    """Frames that a full decode in order agrees with, and who was wrong."""
    around = np.unique(np.clip(np.concatenate([index - 1, index, index + 1]), 0, len(probed.times) - 1))
    try:
        truth = dict(zip(around.tolist(), read_in_order(path, probed, around, size), strict=True))
    except DecodeError as error:
        if other is None:  # only one reader reads it, and what it returned rests on no damaged frame
            return pixels, Reading(reading.reader, f"{reading.why}; no second reader reads it whole")
        raise DecodeError("readers_disagree", f"and nothing settles it: {error}") from None
    second = "pyav_seeking" if reading.reader == "decord" else "decord"
    seen = {reading.reader: pixels} | ({} if other is None else {second: other})
    wrong = tuple(name for name, frames in seen.items() if not _is_right(frames, index, truth))
    if reading.reader not in wrong:
        return pixels, Reading(reading.reader, f"{reading.why}; a full decode in order agrees", wrong)
    why = f"a full decode in order shows other frames than {reading.reader}"
    return np.stack([truth[int(number)] for number in index]), Reading("pyav_in_order", why, wrong)


def _is_right(frames: Pixels, index: Numbers, truth: dict[int, Pixels]) -> bool:
    """Whether each frame is nearer to the true one than to its neighbours, however it was scaled and coloured."""
    own = _difference(frames, np.stack([truth[int(number)] for number in index]))
    for step in (-1, 1):
        neighbours = np.stack([truth.get(int(number) + step, truth[int(number)]) for number in index])
        if np.any(own > _difference(frames, neighbours) + 0.1):
            return False
    return True


def _difference(some: Pixels, others: Pixels) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Mean absolute difference of each pair of frames, in grey levels, float64 [T]."""
    pairs = zip(some, others, strict=True)
    return np.array([np.abs(a.astype(np.int16) - b).mean() for a, b in pairs])
