"""Open a video file: its largest video stream, its packets and its frames in order. Every error is a DecodeError."""

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
# Only these demuxers and only local files: a text file named .mp4 could otherwise be a playlist that opens other files.
_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts", "protocol_whitelist": "file"}


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `path` and yield its container and its largest video stream.

    Library errors, also those raised in the body of the `with` statement, become a DecodeError with a reason.
    """
    try:
        # With "file:", FFmpeg does not interpret a name such as "concat:a" or "%03d".
        file = av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")
    except OSError as error:
        raise DecodeError("unreadable", first_line(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError("not_a_video", first_line(error)) from None
    with file as container:
        try:
            _check_limits(container)
            stream = _largest_stream(container)
            stream.codec_context.thread_count = 1
            # The stream itself may declare larger frames than its container does.
            stream.codec_context.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}
            yield container, stream
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
            raise DecodeError("unsupported", first_line(error)) from None
        except av.error.MemoryError as error:
            raise DecodeError("out_of_memory", first_line(error)) from None
        except av.error.FFmpegError as error:
            raise DecodeError("corrupt", first_line(error)) from None


def _check_limits(container: InputContainer) -> None:
    """Reject decompression bombs before anything is decoded."""
    if len(container.streams) > MAX_STREAMS:
        raise DecodeError("too_many_streams", f"{len(container.streams)} streams, the limit is {MAX_STREAMS}")
    check_duration((container.duration or 0) / 1e6)


def check_duration(seconds: float) -> None:
    """Raise DecodeError("too_long") above `MAX_SECONDS`."""
    if seconds > MAX_SECONDS:
        raise DecodeError("too_long", f"{seconds / 3600:.0f} hours, the limit is {MAX_SECONDS / 3600:.0f}")


def first_line(error: Exception) -> str:
    """Return the first line of the message of a library error."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _largest_stream(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise DecodeError("no_video_stream", f"streams: {', '.join(s.type for s in container.streams) or 'none'}")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise DecodeError("unsupported", "no decoder for its codec")
    stream = max(decodable, key=lambda s: s.width * s.height)
    if stream.width * stream.height > MAX_SOURCE_PIXELS:
        raise DecodeError("too_large", f"{stream.width}x{stream.height}, the limit is {MAX_SOURCE_PIXELS} pixels")
    return stream


def iter_packets(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except IndexError:  # PyAV raises this for a stream that the file header does not declare
            raise DecodeError("unsupported", "a stream begins in the middle of the file") from None
        if packet is None:
            return
        yield packet


def iter_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode and yield every frame from the first packet on, in presentation order.

    Errors and corrupt frames before the first good frame are skipped: a recording that was cut begins with them. Later
    errors are damage and are raised; later corrupt frames are yielded, so check `frame.is_corrupt`.
    """
    started = False
    for packet in iter_packets(container, stream):
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
