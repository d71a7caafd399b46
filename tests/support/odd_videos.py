"""Files whose packets do not say what a decoder shows: made from the small videos of `videos` by copying packets."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from tests.support.videos import numbered_frames

_VIDEO_PID = 256  # of the first stream that FFmpeg writes
MPEG4_B_FRAMES = {"bf": "2", "g": "15", "b": "2000000"}


def copy_packets(
    source: Path, path: Path, change: Callable[[int, av.Packet], list[av.Packet]], container_format: str | None = None
) -> Path:
    """Copy the video packets of `source`, in the order of the file, as `change(number, packet)` returns them."""
    with av.open(str(source)) as input_file, av.open(str(path), "w", format=container_format) as output_file:
        copy = output_file.add_stream_from_template(input_file.streams.video[0])
        for number, packet in enumerate(each for each in input_file.demux(video=0) if each.size):
            for changed in change(number, packet):
                changed.stream = copy
                output_file.mux(changed)
    return path


def without_first_packets(source: Path, path: Path, count: int) -> Path:
    """A recording that starts between two keyframes."""
    return copy_packets(source, path, lambda number, packet: [packet] if number >= count else [])


def with_times_in_decoding_order(source: Path, path: Path) -> Path:
    """A writer that knows no presentation times: it stores when frames are decoded, two seconds later."""

    def change(number: int, packet: av.Packet) -> list[av.Packet]:
        decoding_time = packet.pts if packet.dts is None else packet.dts
        packet.pts = packet.dts = decoding_time + round(2 / packet.time_base)
        return [packet]

    return copy_packets(source, path, change)


def with_all_packets_as_keyframes(source: Path, path: Path) -> Path:
    """A table of keyframes that lists every frame."""

    def change(number: int, packet: av.Packet) -> list[av.Packet]:
        packet.is_keyframe = True
        return [packet]

    return copy_packets(source, path, change)


def with_a_hidden_frame(source: Path, path: Path, after: int, show_bit: int) -> Path:
    """A frame that is never shown, in a packet of its own: packet `after` of VP8 or VP9 with its show bit cleared."""
    data = b""

    def change(number: int, packet: av.Packet) -> list[av.Packet]:
        nonlocal data
        if number != after:
            return [packet]
        data = bytes(packet)
        repeated = av.Packet(data)
        repeated.pts = repeated.dts = packet.pts + 1
        repeated.time_base = packet.time_base
        return [packet, repeated]

    # The bit is cleared in the written file: a writer would join a hidden frame with the next one.
    written = bytearray(copy_packets(source, path, change).read_bytes())
    written[written.index(data, written.index(data) + 1)] &= ~show_bit
    path.write_bytes(written)
    return path


def joined_without_header(first: Path, second: Path, path: Path) -> Path:
    """A recording in fragments of MP4 that goes on with those of another, whose clock starts again."""
    path.write_bytes(_atoms(first, b"ftyp", b"moov", b"moof", b"mdat") + _atoms(second, b"moof", b"mdat"))
    return path


def _atoms(file: Path, *kinds: bytes) -> bytes:
    """The top-level atoms of some kinds of an MP4 file: `moof` and `mdat` are fragments (ISO 14496-12, section 8.8)."""
    data, found, start = file.read_bytes(), b"", 0
    while start < len(data):
        end = start + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] in kinds:
            found += data[start:end]
        start = end
    return found


def without_a_transport_packet(source: Path, path: Path, share: float) -> Path:
    """An MPEG-TS file that lost 188 bytes, one packet, at this share of its length."""
    data = source.read_bytes()
    start = int(len(data) * share) // 188 * 188
    while int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF != _VIDEO_PID:
        start += 188
    path.write_bytes(data[:start] + data[start + 188 :])
    return path


def with_40_damaged_bytes(source: Path, path: Path, number: int) -> Path:
    """A file in which 40 bytes of packet `number` are damaged."""
    with av.open(str(source)) as container:
        packet = next(each for count, each in enumerate(container.demux(video=0)) if count == number)
    data = bytearray(source.read_bytes())
    start = data.index(bytes(packet)[20:]) + 20
    for offset in range(start, start + 40):
        data[offset] ^= 0x5A
    path.write_bytes(data)
    return path


def write_palette_video(path: Path, num_frames: int = 80) -> Path:
    """Numbered grey frames as 8-bit QuickTime Graphics: the palette comes with the first packet only."""
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    palette = np.concatenate([np.full((256, 1), 255, np.uint8), grey], axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("smc", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "pal8"
        for number, pixels in enumerate(numbered_frames(num_frames)):
            frame = av.VideoFrame.from_ndarray((pixels.mean(axis=2).astype(np.uint8), palette), format="pal8")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_with_a_large_still(path: Path, num_frames: int = 60) -> Path:
    """A photo with a short video beside it: one large frame in a stream of its own, then numbered frames, 96x64."""
    with av.open(str(path), "w") as container:
        still, video = container.add_stream("libx264", rate=1), container.add_stream("libx264", rate=25)
        (still.height, still.width), (video.height, video.width) = (240, 320), (64, 96)
        still.pix_fmt = video.pix_fmt = "yuv420p"
        container.mux(still.encode(av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")))
        container.mux(still.encode(None))
        for pixels in numbered_frames(num_frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
    return path
