"""What no exact reader without hardware can fall short of: decoding itself, and nothing else."""

from pathlib import Path

import av


def decode(video: Path) -> None:
    """All frames that others need, on one thread; nothing is scaled, copied or kept."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.skip_frame = "NONREF"
        for packet in container.demux(stream):
            packet.decode()
