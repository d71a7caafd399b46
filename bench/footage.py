"""Videos to measure on: a textured scene that pans under things that move, seen by a camera that is not without noise.

H.264 as x264 makes it unasked (preset medium, crf 23, a keyframe every 250 frames). The noise is what makes it like
footage that is found: a minute of 720p has 2.5 Mbit/s, half of its frames are no reference for others, and decoding all
of them takes about 4 seconds of one core. Without noise three of four frames are references, and decoding takes 1.5.
"""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

FPS = 30
NOISE = 4.0  # grey levels, standard deviation


def make_clip(path: Path, seconds: float, height: int, width: int, seed: int = 0, keyint: int = 250) -> Path:
    """Write `seconds` of footage; the file is kept where it is already there."""
    if path.exists():
        return path
    rng = np.random.default_rng(seed)
    scene, things = _texture(rng, height + 200, width * 2), [_texture(rng, height // 5, height // 5) for _ in range(4)]
    paths = rng.uniform(0.1, 2.0, (len(things), 4))
    grain = [_grain(rng, height + 64, width + 64) for _ in range(4)]
    unfinished = path.with_name(f"partial-{path.name}")
    with av.open(str(unfinished), "w") as container:
        options = {"preset": "medium", "crf": "23", "g": str(keyint)}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(round(seconds * FPS)):
            down, across = rng.integers(0, 64, 2)
            noise = grain[number % len(grain)][down : down + height, across : across + width]
            picture = cv2.add(_picture(scene, things, paths, number / FPS, height, width), noise, dtype=cv2.CV_8U)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return unfinished.rename(path)


def repeat(source: Path, path: Path, times: int) -> Path:
    """A long video of one that is `times` shorter, without encoding."""
    if path.exists():
        return path
    unfinished = path.with_name(f"partial-{path.name}")
    with av.open(str(unfinished), "w") as writing:
        copy = None
        for turn in range(times):
            with av.open(str(source)) as reading:
                stream = reading.streams.video[0]
                copy = copy or writing.add_stream_from_template(stream)
                shift = turn * round(Fraction(stream.duration) if stream.duration else 0)
                for packet in reading.demux(stream):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        writing.mux(packet)
    return unfinished.rename(path)


def copy_in_other_bytes(source: Path, path: Path, number: int) -> Path:
    """The same MP4 file with `number` at its end, in a box that readers skip: another file by its hash."""
    if not path.exists():
        unfinished = path.with_name(f"partial-{path.name}")
        unfinished.write_bytes(source.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))
        unfinished.rename(path)
    return path


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """int16 [H, W, 3], the same in all channels."""
    return np.repeat(rng.normal(0, NOISE, (height, width, 1)).round().astype(np.int16), 3, axis=2)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of all sizes, coarse strongest, more of it in brightness than in colour; uint8 [H, W, 3].

    As a JPEG of full size it takes about as many bytes as real footage does.
    """
    picture = np.full((height, width, 3), 128, np.float32)
    for octave in range(1, 10):
        size = (2**octave * 2, 2**octave * 3)
        grey, colour = rng.normal(0, 42 / octave**1.3, (*size, 1)), rng.normal(0, 8 / octave**1.3, (*size, 3))
        coarse = (grey + colour).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _picture(
    scene: np.ndarray, things: list[np.ndarray], paths: np.ndarray, seconds: float, height: int, width: int
) -> np.ndarray:
    x = round((0.5 + 0.5 * np.sin(seconds / 9)) * (scene.shape[1] - width - 1))
    picture = scene[100 : 100 + height, x : x + width].copy()
    for thing, (across, down, start, phase) in zip(things, paths, strict=True):
        size = len(thing)
        left = round((0.5 + 0.5 * np.sin(across * seconds + start)) * (width - size))
        top = round((0.5 + 0.5 * np.sin(down * seconds + phase)) * (height - size))
        picture[top : top + size, left : left + size] = thing
    return picture
