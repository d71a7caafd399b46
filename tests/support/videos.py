"""Small encoded videos for tests. Each frame shows its number in black and white blocks, readable after any codec."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation

NUM_BITS = 8
SIZE = (64, 96)
AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
B_FRAMES = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-pyramid=normal"}
OPEN_GOP = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:open-gop=1:b-adapt=0"}
HEVC = {"x265-params": "keyint=12:min-keyint=12:scenecut=0:bframes=4:open-gop=1:log-level=none", "preset": "ultrafast"}

# The arguments of `write_video` for one video of each container, codec, frame order and kind of frame times.
KINDS = {
    "h264_b_frames.mp4": {"options": B_FRAMES},
    "h264_one_gop.mp4": {"options": {"x264-params": "keyint=250"}},
    "h264_open_gop.mp4": {"options": OPEN_GOP},
    "h264_all_key.mp4": {"options": {"x264-params": "keyint=1"}},
    "h264.mkv": {"options": B_FRAMES},
    "h264_late_start.mkv": {"options": B_FRAMES, "ticks_ms": [5000 + 40 * i for i in range(80)]},
    "h264.ts": {"options": B_FRAMES},
    "h264_offset.ts": {"options": OPEN_GOP, "ticks_ms": [90_000 + 40 * i for i in range(80)]},
    "h264.avi": {"options": {"x264-params": "bframes=0"}},
    "h264_444.mp4": {"pixel_format": "yuv444p", "options": {"preset": "fast"}},
    "h264_10_bit.mp4": {"pixel_format": "yuv420p10le"},
    "h264_vfr.mp4": {"options": B_FRAMES, "ticks_ms": [i * i + 20 * i for i in range(80)]},
    "h264_gap.mp4": {"options": B_FRAMES, "ticks_ms": [40 * i + 30_000 * (i > 40) for i in range(80)]},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": HEVC},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "15", "b": "2000000"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "15", "b": "2000000"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime", "cpu-used": "8", "b": "1M"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "20", "deadline": "realtime", "cpu-used": "8", "b": "1M"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "20", "svtav1-params": "lp=1"}},
}


def numbered_frames(num_frames: int, height: int = 64, width: int = 96) -> npt.NDArray[np.uint8]:
    """Return frames, uint8 [T, H, W, 3]: a moving gradient above; below, the frame number in binary as blocks."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for number in range(num_frames):
        frames[number, ..., 0] = (x * 2 + 5 * number) % 200 + 20
        frames[number, ..., 1] = (y * 3 + 3 * number) % 160 + 40
        frames[number, ..., 2] = 60
        for bit, columns in enumerate(_blocks(width)):
            frames[number, height // 2 :, columns] = 255 if number >> bit & 1 else 0
    return frames


def read_number(frame: npt.NDArray[np.uint8]) -> int:
    """Return the number that `numbered_frames` wrote into an upright frame of any size."""
    height, width = frame.shape[:2]
    band = frame[height * 5 // 8 : height * 7 // 8].mean(axis=(0, 2))
    bits = []
    for columns in _blocks(width):
        inner = max(1, (columns.stop - columns.start) // 4)
        bits.append(band[columns.start + inner : columns.stop - inner].mean() > 128)
    return sum(int(on) << bit for bit, on in enumerate(bits))


def decode_all_frames(path: Path) -> list[np.ndarray]:
    """Return all frames in presentation order, scaled to 64x96, as the reference that readers are compared with."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = container.decode(video=0)
        return [
            f.reformat(format="rgb24", width=96, height=64, interpolation=AREA, threads=1).to_ndarray() for f in frames
        ]


def _blocks(width: int) -> list[slice]:
    edges = np.linspace(0, width, NUM_BITS + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)]


def write_video(
    path: Path,
    num_frames: int = 80,
    *,
    height: int = 64,
    width: int = 96,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    ticks_ms: Sequence[int] | None = None,
    fps: int = 25,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode numbered frames and return `path`.

    `ticks_ms` are the presentation times in milliseconds (default: `fps` frames per second, from 0).
    """
    if ticks_ms is None:
        ticks_ms = [round(1000 * number / fps) for number in range(num_frames)]
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        time_base = Fraction(1, fps) if path.suffix == ".avi" else Fraction(1, 1000)
        stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for tick, pixels in zip(ticks_ms, numbered_frames(num_frames, height, width), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = time_base
            frame.pts = round(Fraction(tick, 1000) / time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_without_encoding(source: Path, path: Path, first_ms: int) -> Path:
    """Cut like `ffmpeg -ss -c copy`: packets from an earlier keyframe on are copied, and an edit list hides them."""
    with av.open(str(source)) as input_file, av.open(str(path), "w") as output_file:
        stream = input_file.streams.video[0]
        copy = output_file.add_stream_from_template(stream)
        shift = round(Fraction(first_ms, 1000) / stream.time_base)
        for packet in input_file.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                output_file.mux(packet)
    return path


def set_display_matrix(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Overwrite a, b, c and d in the track matrix of an MP4 (ISO 14496-12, section 8.3.2; 16.16 numbers), in place."""
    data = path.read_bytes()
    upright = struct.pack(">5i", 1 << 16, 0, 0, 0, 1 << 16)
    offset = data.index(upright, data.index(b"tkhd"))
    a, b, c, d = (round(number * (1 << 16)) for number in matrix)
    path.write_bytes(data[:offset] + struct.pack(">5i", a, b, 0, c, d) + data[offset + len(upright) :])
    return path


def write_motion_jpeg(path: Path, num_frames: int, orientation: int) -> Path:
    """Write numbered frames as motion JPEG from a camera: each JPEG has an EXIF header with its orientation."""
    header = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(header)) + b"Exif\0\0" + header
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        for number, pixels in enumerate(numbered_frames(num_frames)):
            jpeg = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
            packet = av.Packet(jpeg[:2] + exif + jpeg[2:])
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    return path


def write_audio(path: Path) -> Path:
    """Write an MP4 file with a short silent audio stream and no video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_with_two_streams(path: Path, num_frames: int = 60) -> Path:
    """Write a small black stream first and the numbered stream, 96x64, second."""
    with av.open(str(path), "w") as container:
        small, large = (container.add_stream("libx264", rate=25) for _ in range(2))
        (small.height, small.width), (large.height, large.width) = (32, 32), (64, 96)
        small.pix_fmt = large.pix_fmt = "yuv420p"
        for pixels in numbered_frames(num_frames):
            container.mux(small.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
            container.mux(large.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in (small, large):
            container.mux(stream.encode(None))
    return path


def write_with_many_streams(path: Path, num_streams: int) -> Path:
    """Write many streams with one black frame each."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(num_streams)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for stream in streams:
            container.mux(stream.encode(black))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def write_black(
    path: Path, num_frames: int, height: int, width: int, codec: str, pixel_format: str, **options: str
) -> Path:
    """Write black frames: large frames in a small file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        lines = height * 3 // 2 if pixel_format == "yuv420p" else height
        black = av.VideoFrame.from_ndarray(np.zeros((lines, width), np.uint8), format=pixel_format)
        for number in range(num_frames):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode(None))
    return path


def write_frames(path: Path, frames: Sequence[npt.NDArray[np.uint8]], codec: str, fps: int = 25) -> Path:
    """Encode RGB frames, uint8 [H, W, 3] each."""
    with av.open(str(path), "w") as container:
        # With mbtree, x264 writes different bytes in each run for frames as small as these.
        options = {"b": "2000000"} | ({"x264-params": "mbtree=0"} if codec == "libx264" else {})
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = (*frames[0].shape[:2], "yuv420p")
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))
    return path
