"""Pictures of samples whose edit cannot be seen: what the policy is shown, above the unedited clip."""

from collections.abc import Mapping

import cv2
import numpy as np

from videossr.clip import Clip, Pixels
from videossr.frames.lossless import encode_png
from videossr.pretext import PretextTask
from videossr.records import Sample

_FRAMES = 12  # evenly spaced over the clip; of several clips the first frame of each
_HEIGHT = 64
_GAP = 4


def draw_pair(task: PretextTask, sample: Sample, clips: Mapping[str, Clip]) -> bytes:
    """A PNG of two rows: frames of the rendered sample, and the same frames without the edit.

    `clips` holds the videos that the sample uses.
    """
    rows = [_strip(shown) for shown in (task.render(sample, clips), task.render_clean(sample, clips))]
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return encode_png(np.concatenate([rows[0], gap, rows[1]]))


def _strip(clips: list[Clip]) -> Pixels:
    if len(clips) > 1:
        frames = [clip.frames[0] for clip in clips]
    else:
        numbers = np.unique(np.linspace(0, len(clips[0]) - 1, _FRAMES).round().astype(int))
        frames = list(clips[0].frames[numbers])
    return np.concatenate([_scale(frame) for frame in frames], axis=1)


def _scale(frame: Pixels) -> Pixels:
    width = max(1, round(frame.shape[1] * _HEIGHT / frame.shape[0]))
    return np.asarray(cv2.resize(frame, (width, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
