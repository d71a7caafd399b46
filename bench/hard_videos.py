"""Small videos whose packets mislead, of every kind in docs/videos.md, in every container that takes their codec.

    python -m bench.hard_videos FOLDER
    python -m bench.exactness FOLDER --num-frames 24 --out docs/measured/exactness-made.json

Writes the files to FOLDER, a new folder: the videos of the tests, copied packet by packet as writers, recorders and
networks leave them.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import av

from tests.support import odd_videos
from tests.support.videos import B_FRAMES, KINDS, numbered_frames, write_frames, write_video

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".flv", ".mxf", ".wmv", ".3gp", ".ogv")
DAMAGED_PACKET, FIRST_PACKETS = 42, 6
CHANGES: dict[str, Callable[[Path, Path], Path]] = {
    "copied": lambda source, path: odd_videos.copy_packets(source, path, lambda number, packet: [packet]),
    "starts_late": lambda source, path: odd_videos.without_first_packets(source, path, FIRST_PACKETS),
    "decoding_times": odd_videos.with_times_in_decoding_order,
    "all_keyframes": odd_videos.with_all_packets_as_keyframes,
    "joined": lambda source, path: _joined(source, path),
    "damaged": lambda source, path: _damaged(source, path),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if folder.exists():
        raise SystemExit(f"{folder} exists: name a new folder")
    folder.mkdir(parents=True)
    originals = list(write_originals(folder / "originals"))
    written = sum(
        write_changed(change, source, folder / name / f"{source.name.replace('.', '_')}{suffix}")
        for name, change in CHANGES.items()
        for source in originals
        for suffix in SUFFIXES
    )
    print(f"{len(originals)} originals and {written} changed copies in {folder}")


def write_originals(folder: Path) -> Iterator[Path]:
    """Write one video of each codec, order of frames and kind of frame times, and those that no copy makes."""
    folder.mkdir()
    for name, how in KINDS.items():
        yield write_video(folder / name, **how)
    yield write_video(folder / "h264_interlaced.mp4", options={"x264-params": "tff=1:bframes=2:keyint=20"})
    refresh = {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
    yield write_video(folder / "h264_intra_refresh.mp4", options=refresh)
    yield write_video(folder / "h264_b_frames.ts", options=B_FRAMES)
    for name, codec in (("mpeg1.mpg", "mpeg1video"), ("mpeg2.ts", "mpeg2video"), ("wmv2.wmv", "wmv2")):
        yield write_frames(folder / name, numbered_frames(80), codec)
    yield write_video(folder / "h263.3gp", height=144, width=176, codec="h263", options={"g": "40", "b": "1M"})
    odd_videos.write_palette_video(folder / "palette.mov")
    odd_videos.write_with_a_large_still(folder / "large_still.mp4", 80)
    for name, show_bit in (("vp8", 0x10), ("vp9", 0x02)):
        odd_videos.with_a_hidden_frame(folder / f"{name}.webm", folder / f"{name}_hidden.webm", 30, show_bit)


def write_changed(change: Callable[[Path, Path], Path], source: Path, path: Path) -> bool:
    """Write a changed copy of `source`; returns whether the container takes its codec and times."""
    path.parent.mkdir(exist_ok=True)
    try:
        change(source, path)
    except (av.error.FFmpegError, ValueError):
        path.unlink(missing_ok=True)
        return False
    if _codec(path) != _codec(source):  # some containers have no mark for it, and store the packets as data
        path.unlink()
        return False
    return True


def _codec(path: Path) -> str | None:
    with av.open(str(path)) as container:
        contexts = [stream.codec_context for stream in container.streams.video]
        return contexts[0].name if contexts and contexts[0] else None


def _joined(source: Path, path: Path) -> Path:
    """A recording that was stored twice in one file, as `cat` joins files."""
    CHANGES["copied"](source, path)
    path.write_bytes(path.read_bytes() * 2)
    return path


def _damaged(source: Path, path: Path) -> Path:
    CHANGES["copied"](source, path)
    if path.suffix == ".ts":
        return odd_videos.without_a_transport_packet(path, path, 0.5)
    return odd_videos.with_40_damaged_bytes(path, path, DAMAGED_PACKET)


if __name__ == "__main__":
    main()
