"""The same work done the reference's way: full-size frames by decord, JPEG files, edited copies beside them.

Written from a description of what the published scripts do, with their constants; nothing of them is copied.
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
    """48 frames of the middle 90 %, each a JPEG of full size; returns their bytes."""
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


def _turn(image: Image.Image) -> Image.Image:
    return image.rotate(180)


def _exchange_channels(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, green, red))


def _zoom_out(image: Image.Image) -> Image.Image:
    width, height = image.size
    small = image.resize((round(width / 1.3), round(height / 1.3)), Image.Resampling.LANCZOS)
    black = Image.new("RGB", image.size)
    black.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return black


EDITS: tuple[Callable[[Image.Image], Image.Image], ...] = (_mirror, _turn, _exchange_channels, _zoom_out)


def edit(folder: Path, out: Path, number: int) -> int:
    """One grounding sample: 12 frames read, edited at full size and written beside the others; returns new bytes."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{number}_{frame}.jpg" for frame in range(12)]
    for path, source in zip(paths, sorted(folder.glob("frame_*.jpg"))[18:30], strict=True):
        EDITS[number % len(EDITS)](Image.open(source).convert("RGB")).save(path)
    return sum(path.stat().st_size for path in paths)


def load(paths: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    """48 JPEG reads, each resized to (height, width): what training must do for one sample."""
    images = (Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC) for path in paths)
    return np.stack([np.asarray(image) for image in images])
