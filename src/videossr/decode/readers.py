"""Which reader a file gets, and why; two readers check each other, and a full decode in order settles it.

The rules are measured (46 clips, all frames against a full decode in order): PyAV was never silently wrong. Decord was,
on open GOPs, edit lists, MPEG-TS and packed B-frames, and it knows no AV1. So PyAV reads, by seeking where the
container has an index to seek by, and decord is the second opinion. What decord does not read is decoded in order,
as much of it as is affordable: a good file is not lost because nobody else could read it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.decord_reader import read_with_decord
from videossr.decode.probing import Probe
from videossr.decode.pyav_reader import READ_IN_ORDER, first_decoded_around, read_around, read_in_order, read_seeking
from videossr.errors import DecodeError

Decoder = Literal["auto", "decord", "pyav"]

MOST_PIXELS = 1800 * 1920 * 1080  # decoded to check a file that no second reader reads: a minute of 1080p
_SPOTS = 3  # places where a longer one is checked
_ALIKE = 2.0  # mean difference in grey levels that two ways of scaling may leave


@dataclass(frozen=True)
class Reading:
    """Who read a file, why, and which readers were found wrong: `pyav_seeking`, `pyav_in_order` or `decord`."""

    reader: str
    why: str
    wrong: tuple[str, ...] = ()


def read_frames(
    path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int], decoder: Decoder, check: bool = False
) -> tuple[Pixels, Reading]:
    """The frames with the numbers `index`, scaled to `size`, and who read them.

    `check` asks a second reader; where the two disagree, a full decode in order settles it. Where there is no second
    opinion, a decode in order checks what is affordable, and the reading says how much that was. Raises DecodeError.
    """
    pixels, reading = _first(path, probed, index, size, decoder)
    if not check:
        return pixels, reading
    other = _second_opinion(path, probed, index, size, reading.reader)
    if other is not None and _difference(pixels, other).max() <= _ALIKE:
        return pixels, Reading(reading.reader, f"{reading.why}; a second reader agrees")
    if other is None:
        return checked_alone(path, probed, index, size, pixels, reading)
    return settled(path, probed, index, size, pixels, other, reading)


def _first(
    path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int], decoder: Decoder
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


def _second_opinion(path: Path, probed: Probe, index: FrameNumbers, size: tuple[int, int], first: str) -> Pixels | None:
    """What another reader sees; None where it does not read this file."""
    try:
        if first == "decord":
            return read_seeking(path, probed, index, size)
        return read_with_decord(path, probed, index, size)
    except DecodeError:
        return None


def checked_alone(
    path: Path,
    probed: Probe,
    index: FrameNumbers,
    size: tuple[int, int],
    pixels: Pixels,
    reading: Reading,
    most_pixels: int = MOST_PIXELS,
) -> tuple[Pixels, Reading]:
    """Frames that no second reader has an opinion on: at most `most_pixels` are decoded to check them.

    A short file is decoded whole; of a longer one what lies around some of the frames. Where that shows other frames,
    a full decode settles it, however long that takes.
    """
    if reading.reader == "pyav_in_order":
        return pixels, Reading(reading.reader, f"{reading.why}; a full decode in order needs no other that agrees")
    if (index[-1] + 2) * probed.width * probed.height <= most_pixels:
        return settled(path, probed, index, size, pixels, None, reading)
    spots = _affordable_spots(probed, index, most_pixels)
    truth: dict[int, Pixels] = {}
    try:
        for number in index[spots].tolist():
            truth |= read_around(path, probed, number, size)
    except DecodeError as error:
        return pixels, Reading(reading.reader, f"{reading.why}; nobody could check it: {error}")
    if not truth:
        told = "no second reader reads it, and it is too long to be decoded in order"
        return pixels, Reading(reading.reader, f"{reading.why}; nobody could check it: {told}")
    if _is_right(pixels[spots], index[spots], truth):
        return pixels, Reading(reading.reader, f"{reading.why}; a decode in order around {len(spots)} frames agrees")
    return settled(path, probed, index, size, pixels, None, reading)


def _affordable_spots(probed: Probe, index: FrameNumbers, most_pixels: int) -> FrameNumbers:
    """Places in `index`, far apart, of frames that a keyframe lies near enough to."""
    begin = first_decoded_around(probed, index)
    frames = most_pixels // (probed.width * probed.height) // _SPOTS
    near = np.flatnonzero((begin >= 0) & (index + 2 - begin <= frames))
    return np.unique(near[np.linspace(0, len(near) - 1, _SPOTS).round().astype(int)]) if len(near) else near


def settled(
    path: Path,
    probed: Probe,
    index: FrameNumbers,
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


def _is_right(frames: Pixels, index: FrameNumbers, truth: dict[int, Pixels]) -> bool:
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
