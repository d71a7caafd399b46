"""Renderings: three methods of turning a sample into frames. Ours stays in memory; two others write JPEG files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from videossr.clip import Clip
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import Sample

FRAME_QUALITY = 95  # OpenCV's default: the published code uses it for the frames of a video
EDITED_QUALITY = 75  # PIL's default: the published code uses it for edited frames


@dataclass(frozen=True)
class Rendering:
    """One method of making the frames of a sample.

    `description` completes "the frames are ..." in the report. If `reads_jpeg`, the edit is applied to frames that were
    read from JPEG files. `postprocess` is applied to the rendered clips before they are shown.
    """

    name: str
    description: str
    reads_jpeg: bool
    postprocess: Callable[[Sample, list[Clip]], list[Clip]]


class JpegStore(Mapping[str, Clip]):
    """A frame store whose frames went through a JPEG file once, as in the published code.

    Differs: the published code writes frames at the size of the video and scales them when it reads them; here they
    have the stored size, which is what the model sees.
    """

    def __init__(self, store: Mapping[str, Clip]) -> None:
        self._store = store

    def __getitem__(self, video_id: str) -> Clip:
        clip = self._store[video_id]
        return Clip(encode_and_decode_jpeg(clip.frames, FRAME_QUALITY), clip.times)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


def encode_and_decode_jpeg(frames: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Frames uint8 [T,H,W,3] after a JPEG round trip with 4:2:0 chroma subsampling, as OpenCV and PIL write them."""
    files = [
        simplejpeg.encode_jpeg(frame, quality=quality, colorspace="RGB", colorsubsampling="420")
        for frame in np.ascontiguousarray(frames)
    ]
    return np.stack([simplejpeg.decode_jpeg(file, "RGB") for file in files])


def edited_frame_indices(sample: Sample) -> list[int]:
    """Indices of the shown frames whose pixels the edit changes; empty if it only selects or reorders frames."""
    edit = sample.edit
    if sample.task == "grounding" and PERTURBATIONS[sample.variant].category != "temporal":
        return list(range(edit["start"], edit["start"] + edit["length"]))
    if sample.task == "counting":
        return sorted({shape["frame"] for shape in edit["shapes"]})
    return []


def _leave_unchanged(sample: Sample, clips: list[Clip]) -> list[Clip]:
    return clips


def _save_edited_frames(sample: Sample, clips: list[Clip]) -> list[Clip]:
    indices = edited_frame_indices(sample)
    if not indices:
        return clips
    frames = clips[0].frames.copy()
    frames[indices] = encode_and_decode_jpeg(frames[indices], EDITED_QUALITY)
    return [Clip(frames, clips[0].times)]


def _save_all_frames(sample: Sample, clips: list[Clip]) -> list[Clip]:
    return [Clip(encode_and_decode_jpeg(clip.frames, EDITED_QUALITY), clip.times) for clip in clips]


RENDERINGS = {
    rendering.name: rendering
    for rendering in (
        Rendering("ours", "rendered in memory from the stored frames, and never written", False, _leave_unchanged),
        Rendering(
            "reference", "JPEG files at quality 95, the edited ones saved at 75 beside them", True, _save_edited_frames
        ),
        Rendering(
            "reencoded",
            "the same, but all frames of a sample saved at quality 75 after the edit",
            True,
            _save_all_frames,
        ),
    )
}
