"""Choose the reader of a file, check its frames with a second reader, and let a full decode decide where they differ.

The rules are measured on 46 clips, all frames against a full decode in order. PyAV never returned a wrong frame. Decord
did, without an error, on open GOPs, edit lists, MPEG-TS and packed B-frames, and it cannot read AV1. So PyAV reads, by
seeking where the container has an index to seek by, and decord checks it. Where decord cannot read a file, a decode in
order checks as much of it as is affordable: a good file is not rejected because only one reader can read it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.decord_reader import read_with_decord
from videossr.decode.probing import VideoInfo
from videossr.decode.pyav_reader import (
    READ_IN_ORDER,
    find_start_keyframes,
    read_in_order,
    read_seeking,
    read_with_neighbours,
)
from videossr.errors import DecodeError

Decoder = Literal["auto", "decord", "pyav"]

# How much is decoded to check a file that decord cannot read: one minute of 1080p.
MAX_CHECKED_PIXELS = 1800 * 1920 * 1080
_NUM_SPOT_CHECKS = 3  # frames that are checked in a longer file
_MAX_SCALING_DIFFERENCE = 2.0  # mean difference, in grey levels, that two scalers may leave between equal frames


@dataclass(frozen=True)
class ReaderChoice:
    """Which reader's frames are used, why, and which readers returned wrong frames.

    Readers are `pyav_seeking`, `pyav_in_order` and `decord`.
    """

    reader: str
    why: str
    wrong: tuple[str, ...] = ()

    def add_check(self, result: str, wrong: tuple[str, ...] = ()) -> "ReaderChoice":
        """Return the same choice with the result of a check added to `why`."""
        return replace(self, why=f"{self.why}; {result}", wrong=wrong)


def read_frames(
    path: Path,
    info: VideoInfo,
    frame_numbers: FrameNumbers,
    size: tuple[int, int],
    decoder: Decoder,
    check: bool = False,
) -> tuple[Pixels, ReaderChoice]:
    """Return the frames `frame_numbers` (increasing), uint8 [T, H, W, 3], scaled to `size` (height, width).

    With `check`, a second reader reads them too; where the two differ, a full decode in order decides. Without a second
    reader, a decode in order checks as much as is affordable; `why` says how much that was. Raises DecodeError.
    """
    frames, choice = _read_with_first_reader(path, info, frame_numbers, size, decoder)
    if not check:
        return frames, choice
    second = _read_with_second_reader(path, info, frame_numbers, size, choice.reader)
    if second is None:
        return check_without_second_reader(path, info, frame_numbers, size, frames, choice)
    if _mean_difference(frames, second).max() <= _MAX_SCALING_DIFFERENCE:
        return frames, choice.add_check("a second reader agrees")
    return decide_by_full_decode(path, info, frame_numbers, size, frames, second, choice)


def _read_with_first_reader(
    path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int], decoder: Decoder
) -> tuple[Pixels, ReaderChoice]:
    kind = f"{info.codec} in {info.container}"
    if decoder == "decord":
        return read_with_decord(path, info, frame_numbers, size), ReaderChoice("decord", "frames.decoder is decord")
    if info.container in READ_IN_ORDER:
        frames = read_in_order(path, info, frame_numbers, size)
        return frames, ReaderChoice("pyav_in_order", f"{kind} has no index to seek by")
    sought = read_seeking(path, info, frame_numbers, size)
    if sought is not None:
        return sought, ReaderChoice("pyav_seeking", f"{kind} has an index to seek by")
    frames = read_in_order(path, info, frame_numbers, size)
    return frames, ReaderChoice("pyav_in_order", f"{kind}: seeking met damage, or did not reach a frame")


def _read_with_second_reader(
    path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int], first_reader: str
) -> Pixels | None:
    """Return the frames as the other reader decodes them, None if it cannot read this file."""
    try:
        if first_reader == "decord":
            return read_seeking(path, info, frame_numbers, size)
        return read_with_decord(path, info, frame_numbers, size)
    except DecodeError:
        return None


def check_without_second_reader(
    path: Path,
    info: VideoInfo,
    frame_numbers: FrameNumbers,
    size: tuple[int, int],
    frames: Pixels,
    choice: ReaderChoice,
    max_pixels: int = MAX_CHECKED_PIXELS,
) -> tuple[Pixels, ReaderChoice]:
    """Check frames that only one reader can read by decoding at most `max_pixels` in order.

    A short file is decoded up to its last wanted frame; in a longer one, a few wanted frames and their neighbours are
    decoded. If these differ from `frames`, a full decode decides, however long it takes.
    """
    if choice.reader == "pyav_in_order":
        return frames, choice.add_check("a full decode in order needs no check")
    if (frame_numbers[-1] + 2) * info.width * info.height <= max_pixels:
        return decide_by_full_decode(path, info, frame_numbers, size, frames, None, choice)
    spots = _choose_spot_checks(info, frame_numbers, max_pixels)
    if len(spots) == 0:
        return frames, choice.add_check("not checked: no second reader reads it, and it is too long for a full decode")
    reference: dict[int, Pixels] = {}
    try:
        for number in frame_numbers[spots].tolist():
            reference |= read_with_neighbours(path, info, number, size)
    except DecodeError as error:
        return frames, choice.add_check(f"not checked: {error}")
    if _matches_reference(frames[spots], frame_numbers[spots], reference):
        return frames, choice.add_check(f"a decode in order around {len(spots)} frames agrees")
    return decide_by_full_decode(path, info, frame_numbers, size, frames, None, choice)


def _choose_spot_checks(info: VideoInfo, frame_numbers: FrameNumbers, max_pixels: int) -> npt.NDArray[np.intp]:
    """Choose positions in `frame_numbers`, far apart, whose frames are near enough to a keyframe to be decoded."""
    starts = find_start_keyframes(info, frame_numbers)
    max_frames = max_pixels // (info.width * info.height) // _NUM_SPOT_CHECKS
    near = np.flatnonzero((starts >= 0) & (frame_numbers + 2 - starts <= max_frames))
    return np.unique(near[np.linspace(0, len(near) - 1, _NUM_SPOT_CHECKS).round().astype(int)]) if len(near) else near


def decide_by_full_decode(
    path: Path,
    info: VideoInfo,
    frame_numbers: FrameNumbers,
    size: tuple[int, int],
    frames: Pixels,
    second: Pixels | None,
    choice: ReaderChoice,
) -> tuple[Pixels, ReaderChoice]:
    """Compare the frames of one or two readers with a full decode in order, which is always right.

    Returns `frames` if they match it, else the frames of the full decode. `wrong` names every reader that differs from
    it. Raises DecodeError("readers_disagree") if there are two readers and the full decode fails.
    """
    around = np.concatenate([frame_numbers - 1, frame_numbers, frame_numbers + 1])
    around = np.unique(np.clip(around, 0, len(info.times) - 1))
    try:
        reference = dict(zip(around.tolist(), read_in_order(path, info, around, size), strict=True))
    except DecodeError as error:
        if second is None:  # only one reader reads it, and the frames it returned depend on no damaged frame
            return frames, choice.add_check("no second reader reads it, and a full decode fails")
        raise DecodeError("readers_disagree", f"and a full decode cannot decide: {error}") from None
    second_reader = "pyav_seeking" if choice.reader == "decord" else "decord"
    frames_of_reader = {choice.reader: frames} | ({} if second is None else {second_reader: second})
    wrong = tuple(
        reader for reader, seen in frames_of_reader.items() if not _matches_reference(seen, frame_numbers, reference)
    )
    if choice.reader not in wrong:
        return frames, choice.add_check("a full decode in order agrees", wrong)
    why = f"a full decode in order shows other frames than {choice.reader}"
    return np.stack([reference[int(number)] for number in frame_numbers]), ReaderChoice("pyav_in_order", why, wrong)


def _matches_reference(frames: Pixels, frame_numbers: FrameNumbers, reference: dict[int, Pixels]) -> bool:
    """Whether each frame is nearer to its reference frame than to the reference frame before and after.

    This holds for any scaling or colour conversion of the right frame.
    """
    own_difference = _mean_difference(frames, np.stack([reference[int(number)] for number in frame_numbers]))
    for step in (-1, 1):
        neighbours = np.stack([reference.get(int(n) + step, reference[int(n)]) for n in frame_numbers])
        if np.any(own_difference > _mean_difference(frames, neighbours) + 0.1):
            return False
    return True


def _mean_difference(frames: Pixels, others: Pixels) -> npt.NDArray[np.float64]:
    """Return the mean absolute difference of each pair of frames, in grey levels, float64 [T]."""
    pairs = zip(frames, others, strict=True)
    return np.array([np.abs(frame.astype(np.int16) - other).mean() for frame, other in pairs])
