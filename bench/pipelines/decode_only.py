"""The lower bound of an exact reader without hardware decoding: decode, and do nothing else."""

from pathlib import Path

import av


def decode_references(video: Path) -> None:
    """Decode all frames that other frames refer to, on one thread; scale, copy and keep nothing."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.skip_frame = "NONREF"
        for packet in container.demux(stream):
            packet.decode()
