"""The reference pipeline for the same work: full-size frames by decord, JPEG files, edited copies beside them.

Written from a description of what the published scripts do, with their constants; no code of theirs is copied.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import decord
import numpy as np
from PIL import Image, ImageOps

NUM_FRAMES = 48
QUALITY = 95


def ingest(video: Path, folder: Path) -> int:
    """Write 48 frames of the middle 90 % as full-size JPEG files; returns their total bytes."""
    reader = decord.VideoReader(str(video))
    first, last = int(len(reader) * 0.05), int(len(reader) * 0.95)
    index = first + np.arange(NUM_FRAMES) * max(1, (last - first) // NUM_FRAMES)
    frames = reader.get_batch(index).asnumpy()
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        path = str(folder / f"frame_{number:05d}.jpg")
        cv2.imwrite(path, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return stored_bytes(folder)


def ingest_all(source: Path, out: Path) -> None:
    for path in source.glob("*.mp4"):
        ingest(path, out / path.stem)


def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("frame_*.jpg"))


def _mirror(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def _rotate_180(image: Image.Image) -> Image.Image:
    return image.rotate(180)


def _swap_channels(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, green, red))


def _zoom_out(image: Image.Image) -> Image.Image:
    width, height = image.size
    small = image.resize((round(width / 1.3), round(height / 1.3)), Image.Resampling.LANCZOS)
    black = Image.new("RGB", image.size)
    black.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return black


EDITS: tuple[Callable[[Image.Image], Image.Image], ...] = (_mirror, _rotate_180, _swap_channels, _zoom_out)


def write_edited(folder: Path, out: Path, number: int) -> int:
    """Write one grounding sample: 12 frames of `folder`, edited at full size; returns their total bytes."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{number}_{frame}.jpg" for frame in range(12)]
    for path, source in zip(paths, sorted(folder.glob("frame_*.jpg"))[18:30], strict=True):
        EDITS[number % len(EDITS)](Image.open(source).convert("RGB")).save(path)
    return sum(path.stat().st_size for path in paths)


def load_frames(paths: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    """Read 48 JPEG files and resize each to (height, width), as training must for one sample; uint8 [T, H, W, 3]."""
    images = (Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC) for path in paths)
    return np.stack([np.asarray(image) for image in images])
