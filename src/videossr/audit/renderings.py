"""Ways to turn an edit into the frames that are shown: ours, and two that write JPEG files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from videossr.clip import Clip
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import Sample

FRAME_QUALITY = 95  # OpenCV's default, which the published code takes for the frames of a video
EDITED_QUALITY = 75  # PIL's default, which it takes for the frames that it edits


@dataclass(frozen=True)
class Rendering:
    """How edits become frames.

    `from_files` tells that the edit is done to frames read from JPEG files; `finish` does to the rendered clips what
    this way does before they are shown; `says` completes "the frames are ..." in the report.
    """

    name: str
    says: str
    from_files: bool
    finish: Callable[[Sample, list[Clip]], list[Clip]]


def rewritten(frames: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Frames uint8 [T,H,W,3] as they come back from JPEG files of half the chroma, as OpenCV and PIL write them."""
    files = [
        simplejpeg.encode_jpeg(frame, quality=quality, colorspace="RGB", colorsubsampling="420")
        for frame in np.ascontiguousarray(frames)
    ]
    return np.stack([simplejpeg.decode_jpeg(file, "RGB") for file in files])


def edited_frames(sample: Sample) -> list[int]:
    """Which shown frames an edit paints anew; one that only chooses or orders frames paints none."""
    edit = sample.edit
    if sample.task == "grounding" and PERTURBATIONS[sample.variant].category != "temporal":
        return list(range(edit["start"], edit["start"] + edit["length"]))
    if sample.task == "counting":
        return sorted({shape["frame"] for shape in edit["shapes"]})
    return []


def _as_rendered(sample: Sample, clips: list[Clip]) -> list[Clip]:
    return clips


def _edited_beside(sample: Sample, clips: list[Clip]) -> list[Clip]:
    edited = edited_frames(sample)
    if not edited:
        return clips
    frames = clips[0].frames.copy()
    frames[edited] = rewritten(frames[edited], EDITED_QUALITY)
    return [Clip(frames, clips[0].times)]


def _all_anew(sample: Sample, clips: list[Clip]) -> list[Clip]:
    return [Clip(rewritten(clip.frames, EDITED_QUALITY), clip.times) for clip in clips]


class JpegStore(Mapping[str, Clip]):
    """A store as the published way has it: every frame went through a JPEG file once.

    Differs: the published way writes frames at the size of the video and scales them when they are read; here they have
    the stored size, which is what the model sees.
    """

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store

    def __getitem__(self, video_id: str) -> Clip:
        clip = self._store[video_id]
        return Clip(rewritten(clip.frames, FRAME_QUALITY), clip.times)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


RENDERINGS = {
    way.name: way
    for way in (
        Rendering("ours", "rendered in memory from the stored frames, and never written", False, _as_rendered),
        Rendering(
            "reference", "JPEG files at quality 95, the edited ones saved at 75 beside them", True, _edited_beside
        ),
        Rendering(
            "reencoded", "the same, but all frames of a puzzle saved at quality 75 after the edit", True, _all_anew
        ),
    )
}
