"""Videos to measure on: a textured scene that pans under moving objects, with camera noise.

H.264 by x264 with its defaults (preset medium, crf 23, a keyframe every 250 frames). The noise makes a video like a
real recording: 720p has 2.5 Mbit/s, half of the frames are not references for others, and decoding all frames of a
minute takes about 4 seconds of one core. Without noise three of four frames are references, and decoding takes 1.5.
"""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from videossr.storage.atomic import atomic_file, write_bytes

FPS = 30
NOISE = 4.0  # grey levels, standard deviation


def write_noisy_video(path: Path, seconds: float, height: int, width: int, seed: int = 0, keyint: int = 250) -> Path:
    """Write a video of `seconds`; an existing file is kept."""
    if path.exists():
        return path
    rng = np.random.default_rng(seed)
    scene = _texture(rng, height + 200, width * 2)
    objects = [_texture(rng, height // 5, height // 5) for _ in range(4)]
    trajectories = rng.uniform(0.1, 2.0, (len(objects), 4))
    noises = [_noise(rng, height + 64, width + 64) for _ in range(4)]
    with atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        options = {"preset": "medium", "crf": "23", "g": str(keyint)}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(round(seconds * FPS)):
            y, x = rng.integers(0, 64, 2)
            noise = noises[number % len(noises)][y : y + height, x : x + width]
            clean = _draw_frame(scene, objects, trajectories, number / FPS, height, width)
            frame = cv2.add(clean, noise, dtype=cv2.CV_8U)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_repeated(source: Path, path: Path, times: int) -> Path:
    """Write a video that shows `source` `times` times, without encoding again; an existing file is kept."""
    if path.exists():
        return path
    with atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as writer:
        copy = None
        for turn in range(times):
            with av.open(str(source)) as reader:
                stream = reader.streams.video[0]
                copy = copy or writer.add_stream_from_template(stream)
                shift = turn * round(Fraction(stream.duration) if stream.duration else 0)
                for packet in reader.demux(stream):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        writer.mux(packet)
    return path


def copy_with_other_hash(source: Path, path: Path, number: int) -> Path:
    """Copy an MP4 file and append `number` in a box that readers skip; an existing file is kept.

    The copy shows the same frames and has another hash.
    """
    if not path.exists():
        write_bytes(path, source.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))
    return path


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """int16 [H, W, 3], the same in all channels."""
    return np.repeat(rng.normal(0, NOISE, (height, width, 1)).round().astype(np.int16), 3, axis=2)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of many scales, strongest at coarse scales and in brightness; uint8 [H, W, 3].

    A full-size JPEG of it has about as many bytes as one of a real recording.
    """
    texture = np.full((height, width, 3), 128, np.float32)
    for octave in range(1, 10):
        size = (2**octave * 2, 2**octave * 3)
        grey, colour = rng.normal(0, 42 / octave**1.3, (*size, 1)), rng.normal(0, 8 / octave**1.3, (*size, 3))
        coarse = (grey + colour).astype(np.float32)
        texture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(texture, 0, 255).astype(np.uint8)


def _draw_frame(
    scene: np.ndarray, objects: list[np.ndarray], trajectories: np.ndarray, seconds: float, height: int, width: int
) -> np.ndarray:
    """The part of the scene that is in view at a time, with the objects on it; uint8 [H, W, 3]."""
    x = round((0.5 + 0.5 * np.sin(seconds / 9)) * (scene.shape[1] - width - 1))
    frame = scene[100 : 100 + height, x : x + width].copy()
    for texture, (x_speed, y_speed, x_phase, y_phase) in zip(objects, trajectories, strict=True):
        size = len(texture)
        left = round((0.5 + 0.5 * np.sin(x_speed * seconds + x_phase)) * (width - size))
        top = round((0.5 + 0.5 * np.sin(y_speed * seconds + y_phase)) * (height - size))
        frame[top : top + size, left : left + size] = texture
    return frame
