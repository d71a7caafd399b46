"""Choose the reader of a file, check its frames with a second reader, and let a full decode decide where they differ.

A file whose packets can be trusted (`packet_index`) is read by seeking; every other file is decoded in order. The check
shares neither the reader nor the seek: decord decodes from the start of the file, and where it cannot read the file,
PyAV does. Both go as far as is affordable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from videossr.clip import FrameNumbers, Pixels
from videossr.decode.decord_reader import read_with_decord
from videossr.decode.probing import SeekingFailed, VideoInfo
from videossr.decode.pyav_reader import read_in_order, read_seeking
from videossr.errors import DecodeError

Decoder = Literal["auto", "decord", "pyav"]

# How much of a file is decoded to check it: one minute of 1080p.
MAX_CHECKED_PIXELS = 1800 * 1920 * 1080
_MAX_SCALING_DIFFERENCE = 2.0  # mean difference, in grey levels, that two scalers may leave between equal frames
_MAX_COLOUR_DIFFERENCE = 24.0  # that another colour matrix or range may leave; other pictures differ by more


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

    With `check`, another reader decodes the file in order as far as is affordable; `why` says how far that was. Where
    the two differ, a full decode in order decides. Raises SeekingFailed where the packets promised frames that are not
    there (`probe_and_read` then decodes the whole file), DecodeError where a frame is damaged.
    """
    kind = f"{info.codec} in {info.container}"
    if decoder == "decord":
        choice = ReaderChoice("decord", "frames.decoder is decord")
        frames = read_with_decord(path, info, frame_numbers, size)
    elif info.index.whole is not None:
        choice = ReaderChoice("pyav_in_order", f"{kind}: only a full decode in order shows its frames and their times")
        return read_in_order(path, info, frame_numbers, size), choice
    else:
        choice = ReaderChoice("pyav_seeking", f"{kind} has an index to seek by")
        sought = read_seeking(path, info, frame_numbers, size)
        if sought is None:
            raise SeekingFailed("corrupt", "seeking met damage, or did not reach a frame")
        frames = sought
    return check_frames(path, info, frame_numbers, size, frames, choice) if check else (frames, choice)


def check_frames(
    path: Path,
    info: VideoInfo,
    frame_numbers: FrameNumbers,
    size: tuple[int, int],
    frames: Pixels,
    choice: ReaderChoice,
    max_pixels: int = MAX_CHECKED_PIXELS,
) -> tuple[Pixels, ReaderChoice]:
    """Compare those of `frames` that another reader reaches with `max_pixels` decoded in order from the file's start.

    If any differs, or no other reader reads the file, a full decode decides, however long it takes.
    """
    num_checked = int(np.searchsorted(frame_numbers, max_pixels // (info.width * info.height) - 2, side="right"))
    if num_checked == 0:
        return frames, choice.add_check("not checked: its first frame is too far from the start of the file")
    checked = frame_numbers[:num_checked]
    try:
        name, second = _read_with_second_reader(path, info, checked, size, choice.reader)
    except DecodeError as error:  # the frames that were read depend on no damaged frame
        return frames, choice.add_check(f"not checked: {error}")
    if _mean_difference(frames[:num_checked], second).max() <= _MAX_SCALING_DIFFERENCE:
        extent = "" if num_checked == len(frames) else f" on the first {num_checked} of {len(frames)} frames"
        return frames, choice.add_check(f"{name} agrees, decoding in order{extent}")
    return decide_by_full_decode(path, info, frame_numbers, size, {choice.reader: frames, name: second}, choice)


def _read_with_second_reader(
    path: Path, info: VideoInfo, frame_numbers: FrameNumbers, size: tuple[int, int], first_reader: str
) -> tuple[str, Pixels]:
    """Return the name and the frames of a reader that decodes in order: decord, or PyAV where decord is or fails."""
    if first_reader != "decord":
        try:
            return "decord", read_with_decord(path, info, frame_numbers, size, in_order=True)
        except DecodeError:
            pass
    return "pyav_in_order", read_in_order(path, info, frame_numbers, size)


def decide_by_full_decode(
    path: Path,
    info: VideoInfo,
    frame_numbers: FrameNumbers,
    size: tuple[int, int],
    frames_of_reader: Mapping[str, Pixels],
    choice: ReaderChoice,
) -> tuple[Pixels, ReaderChoice]:
    """Compare the frames of readers, of each the first or all, with a full decode in order, which is always right.

    Returns the frames of the chosen reader if they match it, else the frames of the full decode. `wrong` names every
    reader that differs from it. Raises DecodeError("readers_disagree") if the full decode fails.
    """
    around = np.concatenate([frame_numbers - 1, frame_numbers, frame_numbers + 1])
    around = np.unique(np.clip(around, 0, len(info.times) - 1))
    try:
        reference = dict(zip(around.tolist(), read_in_order(path, info, around, size), strict=True))
    except DecodeError as error:
        raise DecodeError("readers_disagree", f"and a full decode cannot decide: {error}") from None
    wrong = tuple(
        reader
        for reader, frames in frames_of_reader.items()
        if not _matches_reference(frames, frame_numbers[: len(frames)], reference)
    )
    if choice.reader not in wrong:
        return frames_of_reader[choice.reader], choice.add_check("a full decode in order agrees", wrong)
    why = f"a full decode in order shows other frames than {choice.reader}"
    return np.stack([reference[int(number)] for number in frame_numbers]), ReaderChoice("pyav_in_order", why, wrong)


def _matches_reference(frames: Pixels, frame_numbers: FrameNumbers, reference: dict[int, Pixels]) -> bool:
    """Whether each frame is near its reference frame, and nearer than to the reference frame before and after.

    This holds for any scaling or colour conversion of the right frame, and not for other pictures.
    """
    own_difference = _mean_difference(frames, np.stack([reference[int(number)] for number in frame_numbers]))
    if own_difference.max() > _MAX_COLOUR_DIFFERENCE:
        return False
    for step in (-1, 1):
        neighbours = np.stack([reference.get(int(n) + step, reference[int(n)]) for n in frame_numbers])
        if np.any(own_difference > _mean_difference(frames, neighbours) + 0.1):
            return False
    return True


def _mean_difference(frames: Pixels, others: Pixels) -> npt.NDArray[np.float64]:
    """Return the mean absolute difference of each pair of frames, in grey levels, float64 [T]."""
    pairs = zip(frames, others, strict=True)
    return np.array([np.abs(frame.astype(np.int16) - other).mean() for frame, other in pairs])
