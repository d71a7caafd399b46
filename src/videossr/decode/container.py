"""One open file: its largest stream, its packets and its frames in order; every error of the libraries has a reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videossr.errors import DecodeError

MAX_SOURCE_PIXELS = 8192 * 8192
MAX_SECONDS = 24 * 3600.0
MAX_STREAMS = 100
# Only these demuxers, only local files: a text file named .mp4 may otherwise be a playlist that opens other files.
_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts", "protocol_whitelist": "file"}


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its largest stream; every error of the libraries becomes a DecodeError."""
    try:
        # "file:" keeps a name such as "concat:a" or "%03d" from being read as anything but a name.
        file = av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")
    except OSError as error:
        raise DecodeError("unreadable", sentence(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError("not_a_video", sentence(error)) from None
    with file as container:
        try:
            _refuse_bombs(container)
            stream = _largest(container)
            stream.codec_context.thread_count = 1
            # The stream itself may announce larger pictures than its container does.
            stream.codec_context.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}
            yield container, stream
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
            raise DecodeError("unsupported", sentence(error)) from None
        except av.error.MemoryError as error:
            raise DecodeError("out_of_memory", sentence(error)) from None
        except av.error.FFmpegError as error:
            raise DecodeError("corrupt", sentence(error)) from None


def _refuse_bombs(container: InputContainer) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise DecodeError("too_many_streams", f"{len(container.streams)} streams, at most {MAX_STREAMS} are read")
    refuse_too_long((container.duration or 0) / 1e6)


def refuse_too_long(seconds: float) -> None:
    """Raise DecodeError where a clock runs longer than is read."""
    if seconds > MAX_SECONDS:
        raise DecodeError("too_long", f"{seconds / 3600:.0f} hours, at most {MAX_SECONDS / 3600:.0f} are read")


def sentence(error: Exception) -> str:
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


def packets(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except IndexError:  # how PyAV meets a stream that the head of the file does not announce
            raise DecodeError("unsupported", "a stream begins in the middle of the file") from None
        if packet is None:
            return
        yield packet


def frames_in_order(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame from the first packet on; errors before the first good frame are a cut, later ones are damage."""
    started = False
    for packet in packets(container, stream):
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
