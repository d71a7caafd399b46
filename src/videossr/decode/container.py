"""Open a video file: the video stream that is used, and its packets. Every error is a DecodeError."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from videossr.errors import DecodeError

MAX_SOURCE_PIXELS = 8192 * 8192
MAX_SECONDS = 24 * 3600.0
MAX_FRAMES = round(MAX_SECONDS * 120)
MAX_STREAMS = 100
NO_KEY = "its frames are encrypted: remove the protection, or leave the file out"
# Only these demuxers and only local files: a text file named .mp4 could otherwise be a playlist that opens other files.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,mxf,gif"
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
# What FFmpeg says, and what it means for a user.
_MEANING_AT_OPEN: dict[type[Exception], str] = {
    av.error.ArgumentError: "its content is of a kind that is not read (docs/videos.md lists those that are)",
    av.error.InvalidDataError: "it does not start as a video file does: another kind of file, or its start is damaged",
    av.error.EOFError: "the file ends before its first frame: copy it again",
}
_MEANING: dict[type[Exception], str] = {
    av.error.ArgumentError: "its decoder refuses the properties that the file states",
    av.error.InvalidDataError: "its compressed frames are damaged",
    av.error.EOFError: "the file ends too early: copy it again",
    av.error.PatchWelcomeError: "its decoder does not know this form of the codec",
    av.error.PermissionError: "its decoder gives up",  # -1 without a meaning, from old decoders
}


@contextmanager
def open_video(path: Path, stream_index: int | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `path` and yield its container and one of its video streams (`choose_stream`), by default the largest.

    Library errors, also those raised in the body of the `with` statement, become a DecodeError with a reason.
    """
    try:
        # With "file:", FFmpeg does not interpret a name such as "concat:a" or "%03d".
        file = av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")
    except OSError as error:
        raise DecodeError("unreadable", first_line(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError("not_a_video", _explain(error, _MEANING_AT_OPEN)) from None
    with file as container:
        try:
            if "ASF_Protection_Type" in container.metadata:
                raise DecodeError("encrypted", NO_KEY)
            streams = _list_streams(container)
            chosen = [each for each in streams if stream_index in (None, each.index)]
            if not chosen:
                raise DecodeError("changed_while_read", f"stream {stream_index} is no longer there")
            stream = max(chosen, key=_num_pixels)
            _check_size(stream)
            stream.codec_context.thread_count = 1
            # The stream itself may declare larger frames than its container does.
            stream.codec_context.options = {"max_pixels": str(MAX_SOURCE_PIXELS)}
            yield container, stream
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
            raise DecodeError("unsupported", _explain(error, _MEANING)) from None
        except av.error.MemoryError as error:
            raise DecodeError("out_of_memory", first_line(error)) from None
        except av.error.FFmpegError as error:
            raise DecodeError("corrupt", _explain(error, _MEANING)) from None


def check_duration(seconds: float) -> None:
    """Raise DecodeError("too_long") above `MAX_SECONDS`."""
    if seconds > MAX_SECONDS:
        raise DecodeError("too_long", f"{seconds / 3600:.0f} hours, the limit is {MAX_SECONDS / 3600:.0f}")


def _explain(error: Exception, meanings: Mapping[type[Exception], str]) -> str:
    """The meaning of a library error, or its own first line."""
    return meanings.get(type(error), first_line(error))


def first_line(error: Exception) -> str:
    """Return the first line of the message of a library error."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def choose_stream(path: Path, min_frames: int) -> int:
    """The index of the largest video stream with at least `min_frames` frames, else of the one with the most frames.

    A photo with a short video beside it, or a video with a poster, has two streams of which the larger is a still.
    """
    with open_video(path) as (container, largest):
        streams = _list_streams(container)
        if len(streams) == 1:
            return largest.index
        counts = dict.fromkeys((stream.index for stream in streams), 0)
        for packet in iter_packets(container, *streams):
            if packet.size and not packet.is_discard:
                counts[packet.stream_index] += 1
        return max(streams, key=lambda each: (min(counts[each.index], min_frames), _num_pixels(each))).index


def _list_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams that can be decoded. Raises DecodeError for a file with none, or with too many streams."""
    if len(container.streams) > MAX_STREAMS:
        raise DecodeError("too_many_streams", f"{len(container.streams)} streams, the limit is {MAX_STREAMS}")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise DecodeError("no_video_stream", f"streams: {', '.join(s.type for s in container.streams) or 'none'}")
    if any("enc_key_id" in s.metadata for s in streams):  # Matroska
        raise DecodeError("encrypted", NO_KEY)
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise DecodeError("unsupported", "no decoder for its codec")
    return decodable


def _num_pixels(stream: VideoStream) -> int:
    return stream.width * stream.height


def _check_size(stream: VideoStream) -> None:
    """Reject decompression bombs before anything is decoded."""
    if _num_pixels(stream) > MAX_SOURCE_PIXELS:
        raise DecodeError("too_large", f"{stream.width}x{stream.height}, the limit is {MAX_SOURCE_PIXELS} pixels")


def iter_packets(container: InputContainer, *streams: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Yield the packets of some streams, then an empty one of each. Raises DecodeError for encrypted packets."""
    demuxed = container.demux(streams)
    while True:
        try:
            packet = next(demuxed, None)
        except IndexError:  # PyAV raises this for a stream that the file header does not declare
            raise DecodeError("unsupported", "a stream begins in the middle of the file") from None
        if packet is None:
            return
        if packet.has_sidedata("encryption_info"):
            raise DecodeError("encrypted", NO_KEY)
        yield packet
