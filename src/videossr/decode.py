"""A video file -> its clock, and exact frames at chosen presentation times; the only module that opens a video.

Reading is lean and still frame-exact: the packets are indexed by demuxing alone, the reader seeks past keyframes that
no wanted frame needs, non-reference frames that nobody wants are never decoded, one thread a process, and swscale
delivers the wanted size at once. Whatever the fast path cannot deliver is read again from the first packet on.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from videossr.errors import DecodeError

Decoder = Literal["auto", "decord", "pyav"]
Times = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Ticks = npt.NDArray[np.int64]

REASONS: dict[str, str] = {
    "bad_name": "the name cannot be stored as text",
    "changed_while_read": "the file changed between listing and reading",
    "corrupt": "frames that are needed cannot be decoded without errors",
    "crashed_decoder": "the process that read it died",
    "duplicate": "the same bytes as another file",
    "no_video_stream": "a media file without pictures",
    "not_a_video": "none of the containers that are read",
    "outside_source": "a link that leads out of the source folder",
    "too_large": "more pixels a frame than are read",
    "too_short": "fewer usable frames than a puzzle needs",
    "unreadable": "the file cannot be opened or read",
    "unsupported": "no decoder for this codec, or the chosen decoder disagrees with the container",
}

_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # the same on every processor
MAX_SOURCE_PIXELS = 8192 * 8192
# Only these demuxers, only local files: a text file named .mp4 may otherwise be a playlist that opens other files.
_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts", "protocol_whitelist": "file"}
_SKIPS_NONREF = ("h264", "hevc")
_READ_IN_ORDER = ("avi", "mpegts")
_INDEX_BY_DECODING = ("avi",)  # its packets carry decoding order only: frames are numbered as they come out


@dataclass(frozen=True)
class Clip:
    """Pixels that never travel without their time.

    `frames` is uint8 [T, H, W, 3] RGB; `times` is float64 [T], seconds, strictly increasing. Raises ValueError on any
    other shape, type or order.
    """

    frames: Pixels
    times: Times

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 [T, H, W, 3], got {self.frames.dtype} {self.frames.shape}")
        if self.times.dtype != np.float64 or self.times.shape != self.frames.shape[:1]:
            raise ValueError(f"times must be float64 [{len(self.frames)}], got {self.times.dtype} {self.times.shape}")
        if not np.all(np.diff(self.times) > 0):
            raise ValueError("times must be strictly increasing")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class _Index:
    """Sorted presentation times in ticks, of all frames and of keyframes.

    `leading` where a frame is shown before the keyframe that precedes it in the file (open GOPs).
    """

    pts: Ticks
    key_pts: Ticks
    leading: bool


@dataclass(frozen=True)
class Probe:
    """What a container says of its largest video stream, checked by decoding one frame.

    `times` are the presentation times in seconds of all frames, the first at 0; `width` and `height` are pixels as
    displayed. `index` is the same clock in ticks of the stream.
    """

    codec: str
    container: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    times: Times = field(repr=False)
    index: _Index = field(repr=False)


def presentation_times(path: Path) -> Times:
    """Seconds at which each frame is shown, float64 [N], sorted, the first at 0; edit lists are respected.

    Raises DecodeError.
    """
    return probe(path).times


def probe(path: Path) -> Probe:
    """Index the packets of `path` and decode one frame. Raises DecodeError with a reason of `REASONS`."""
    with _open(path) as (container, stream):
        name = container.format.name
        read_index = _index_by_decoding if name in _INDEX_BY_DECODING else _index
        index = read_index(container, stream)
        time_base = stream.time_base
    if len(index.pts) == 0 or time_base is None:
        raise DecodeError("corrupt", "the video stream holds no frames")
    with _open(path) as (container, stream):
        first = next(_frames_in_order(container, stream), None)
        if first is None:
            raise DecodeError("corrupt", "no frame can be decoded")
        width, height = _displayed_size(stream, first)
        times = (index.pts - index.pts[0]).astype(np.float64) * float(time_base)
        fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else float(stream.average_rate or 0)
        return Probe(
            codec=stream.codec_context.codec.canonical_name,
            container=name,
            width=width,
            height=height,
            fps=fps,
            duration_seconds=len(times) / fps if fps else 0.0,
            times=times,
            index=index,
        )


def decode(
    path: Path, times: Times, *, size: tuple[int, int], decoder: Decoder = "auto", probed: Probe | None = None
) -> Clip:
    """The frames shown at exactly `times` (float64 [T], as `presentation_times` gives them), scaled to `size`.

    `size` is (height, width) as displayed: rotation and pixel aspect are applied. `probed` saves indexing again.
    `auto` reads with PyAV, the reader that was right on every container measured. Raises DecodeError; a frame that is
    not the one asked for, or that rests on damaged ones, is never returned.
    """
    probed = probed or probe(path)
    index = np.searchsorted(probed.times, times - 1e-6)
    if np.any(index >= len(probed.times)) or np.any(np.abs(probed.times[index] - times) > 1e-6):
        raise ValueError("times must be presentation times of this video")
    read = _decode_with_decord if decoder == "decord" else _decode_with_pyav
    return Clip(read(path, probed, index, size), times)


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its largest stream; every error of the libraries becomes a DecodeError."""
    try:
        # "file:" keeps a name such as "concat:a" or "%03d" from being read as anything but a name.
        opened = av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")
    except OSError as error:
        raise DecodeError("unreadable", _sentence(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError("not_a_video", _sentence(error)) from None
    with opened as container:
        try:
            stream = _largest(container)
            stream.codec_context.thread_count = 1
            yield container, stream
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
            raise DecodeError("unsupported", _sentence(error)) from None
        except av.error.FFmpegError as error:
            raise DecodeError("corrupt", _sentence(error)) from None


def _sentence(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _largest(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise DecodeError("no_video_stream", f"streams: {', '.join(s.type for s in container.streams) or 'none'}")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise DecodeError("unsupported", "no decoder for its codec")
    stream = max(decodable, key=lambda s: s.width * s.height)
    if stream.width * stream.height > MAX_SOURCE_PIXELS:
        raise DecodeError("too_large", f"{stream.width}x{stream.height}, at most {MAX_SOURCE_PIXELS} pixels are read")
    return stream


def _packets(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:  # how PyAV meets a stream that the head of the file does not announce
            raise DecodeError("unsupported", "a stream begins in the middle of the file") from None
        if packet is None:
            return
        yield packet


def _index(container: InputContainer, stream: VideoStream) -> _Index:
    """All presentation times and those of the keyframes, by demuxing alone."""
    pts: list[int] = []
    key_pts: list[int] = []
    leading = False
    for packet in _packets(container, stream):
        if packet.size == 0 or packet.is_discard or packet.pts is None or _is_hidden(packet):
            continue
        pts.append(packet.pts)
        if packet.is_keyframe:
            key_pts.append(packet.pts)
        leading |= bool(key_pts) and packet.pts < key_pts[-1]
    return _Index(np.unique(np.array(pts, np.int64)), np.unique(np.array(key_pts, np.int64)), leading)


def _is_hidden(packet: "Packet[VideoStream]") -> bool:
    """VP8 keeps alternate references, which are never shown, in packets of their own (RFC 6386, section 9.1)."""
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _index_by_decoding(container: InputContainer, stream: VideoStream) -> _Index:
    """One decoding of the whole file: times are counted in frames of the stated rate."""
    count = sum(1 for _ in _frames_in_order(container, stream))
    rate = stream.average_rate
    if not rate or not stream.time_base:
        raise DecodeError("corrupt", "the container states no frame rate")
    ticks = float(1 / rate / stream.time_base)
    return _Index(np.round(np.arange(count) * ticks).astype(np.int64), np.zeros(1, np.int64), leading=False)


def _frames_in_order(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame from the first packet on; errors before the first good frame are a cut, later ones are damage."""
    started = False
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if started:
                raise
            continue
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt and not started:
                continue
            started = True
            yield frame


def _displayed_size(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """(width, height) after pixel aspect and rotation."""
    aspect = stream.sample_aspect_ratio
    width = round(frame.width * float(aspect)) if aspect else frame.width
    return (frame.height, width) if _quarter_turns(frame) % 2 else (width, frame.height)


def _decode_with_pyav(path: Path, probed: Probe, index: npt.NDArray[np.intp], size: tuple[int, int]) -> Pixels:
    if probed.container in _INDEX_BY_DECODING:
        return _read_in_order(path, index, size, by_number=True)
    wanted = probed.index.pts[index]
    if probed.container not in _READ_IN_ORDER:
        frames = _read_seeking(path, probed, wanted, size)
        if frames is not None:
            return frames
    return _read_in_order(path, wanted, size, by_number=False)


def _read_seeking(path: Path, probed: Probe, wanted: Ticks, size: tuple[int, int]) -> Pixels | None:
    """The fast path; None where it met anything that it cannot vouch for."""
    pixels: dict[int, Pixels] = {}
    keys = np.searchsorted(probed.index.key_pts, wanted, side="right") - 1
    if keys[0] < 0:
        return None
    try:
        with _open(path) as (container, stream):
            for key, group in itertools.groupby(zip(keys, wanted, strict=True), key=lambda pair: int(pair[0])):
                left = {int(pts) for _, pts in group} - pixels.keys()
                if left and not _read_group(container, stream, int(probed.index.key_pts[key]), left, size, pixels):
                    return None
    except DecodeError:
        return None
    return np.stack([pixels[int(pts)] for pts in wanted])


def _read_group(
    container: InputContainer,
    stream: VideoStream,
    key_pts: int,
    left: set[int],
    size: tuple[int, int],
    pixels: dict[int, Pixels],
) -> bool:
    """Seek to one keyframe and decode until every wanted frame that follows it is delivered."""
    wanted = frozenset(left)
    skips = stream.codec_context.name in _SKIPS_NONREF
    container.seek(key_pts, stream=stream, backward=True)
    landed = False
    for packet in _packets(container, stream):
        if not landed and packet.pts is not None and packet.is_keyframe:
            landed = True
            if packet.pts > key_pts:
                return False
        if skips:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted or packet.size == 0 else "NONREF"
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            if frame.is_corrupt and frame.pts is not None and frame.pts >= key_pts:
                return False
            if frame.pts in left:
                pixels[frame.pts] = _pixels(frame, size)
                left.remove(frame.pts)
        if not left:
            return True
    return False


def _read_in_order(path: Path, wanted: npt.NDArray[np.int_], size: tuple[int, int], by_number: bool) -> Pixels:
    """The slow path: every frame from the first on; `wanted` are ticks, or numbers in the order of showing."""
    pixels: dict[int, Pixels] = {}
    left = {int(key) for key in wanted}
    with _open(path) as (container, stream):
        for number, frame in enumerate(_frames_in_order(container, stream)):
            if frame.is_corrupt:
                raise DecodeError("corrupt", f"a damaged frame at {frame.time or 0:.2f} s")
            key = number if by_number else frame.pts
            if key in left:
                pixels[key] = _pixels(frame, size)
                left.remove(key)
            if not left:
                return np.stack([pixels[int(key)] for key in wanted])
    raise DecodeError("corrupt", f"{len(left)} of {len(wanted)} frames cannot be decoded")


def _pixels(frame: VideoFrame, size: tuple[int, int]) -> Pixels:
    """One upright RGB frame, uint8 [H, W, 3]: scaled first, then turned, so that little is turned."""
    turns = _quarter_turns(frame)
    height, width = size[::-1] if turns % 2 else size
    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(scaled, turns))


def _quarter_turns(frame: VideoFrame) -> int:
    """How often the stored picture is turned counterclockwise to stand upright, 0..3, as `rot90` counts."""
    return round(frame.rotation / 90) % 4


def _decode_with_decord(path: Path, probed: Probe, index: npt.NDArray[np.intp], size: tuple[int, int]) -> Pixels:
    """The second reader, which must agree with the container on how many frames there are and when."""
    import decord  # a heavy import that the default never needs

    if probed.index.leading or probed.container in _READ_IN_ORDER:
        # It seeks to keyframes that such frames do not follow, and returns other frames without a word.
        raise DecodeError("unsupported", "decord misreads open GOPs, AVI and MPEG-TS: set frames.decoder to auto")
    try:
        reader = decord.VideoReader(str(path), width=size[1], height=size[0], num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if len(stamps) != len(probed.times) or np.abs(stamps - stamps[0] - probed.times).max() > 2e-3:
            raise DecodeError("unsupported", f"decord sees {len(stamps)} frames, the container {len(probed.times)}")
        return np.asarray(reader.get_batch(index).asnumpy())
    except decord.DECORDError as error:
        raise DecodeError("unsupported", _sentence(error)) from None
