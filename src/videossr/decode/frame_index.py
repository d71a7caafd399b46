"""The index of a video: which frames are shown, when, and which of them are proved whole."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videossr.clip import FrameNumbers, Ticks


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in the order in which they are shown: increasing times in ticks of the stream, int64 [N].

    `keyframes` are the numbers of frames that can be decoded on their own. An index from packets alone has no `whole`:
    its ticks are then also the presentation times by which frames are found, and no damage is known.
    `has_leading_frames` says whether a frame is shown before the keyframe that precedes it in the file (open GOP).
    An index from a full decode has `whole`, bool [N]: false for frames that are damaged or depend on damaged ones.
    """

    ticks: Ticks
    keyframes: FrameNumbers
    has_leading_frames: bool = False
    whole: npt.NDArray[np.bool_] | None = None
