"""Which containers are read, and what a file is called that is not."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.videos import B_FRAMES, numbered_frames, read_number, write_frames, write_video
from videossr.decode import REASONS, probe_video, read_frames
from videossr.errors import DecodeError
from videossr.ingest.listing import VIDEO_SUFFIXES

# File name -> codec; the container follows from the name. There is no encoder of Theora here, so .ogv holds VP8.
CONTAINERS = {
    "a.m4v": "libx264",
    "a.3gp": "libx264",
    "a.MTS": "libx264",
    "a.m2ts": "libx264",
    "a.mpg": "mpeg1video",
    "a.mpeg": "mpeg2video",
    "a.vob": "mpeg2video",
    "a.mxf": "mpeg2video",
    "a.wmv": "wmv2",
    "a.flv": "flv",
    "a.ogv": "libvpx",
    "a.avi": "msmpeg4",
    "a.mov": "prores",
    "a.mkv": "ffv1",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_frames_and_times_of_each_container_are_exact(tmp_path: Path, name: str) -> None:
    codec = CONTAINERS[name]
    path = tmp_path / name
    with av.open(str(path), "w", format={"a.MTS": "mpegts", "a.m2ts": "mpegts"}.get(name)) as container:
        stream = container.add_stream(codec, rate=25, options={"b": "4000000"} if codec != "ffv1" else {})
        stream.height, stream.width = 64, 96
        stream.pix_fmt = "yuv422p10le" if codec == "prores" else "yuv420p"
        for number, pixels in enumerate(numbered_frames(60)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert path.suffix.lower() in VIDEO_SUFFIXES
    info = probe_video(path)
    np.testing.assert_allclose(info.times, np.arange(60) / 25, atol=2e-3)
    frames = read_frames(path, info, np.arange(0, 60, 7), (64, 96), "auto")[0]
    assert [read_number(frame) for frame in frames] == list(range(0, 60, 7))


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "rgb8"
        for pixels in numbered_frames(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="rgb8")))
        container.mux(stream.encode(None))
    info = probe_video(path)
    np.testing.assert_allclose(info.times, np.arange(30) / 25)
    frames = read_frames(path, info, np.array([3, 29]), (64, 96), "auto")[0]
    assert [read_number(frame) for frame in frames] == [3, 29]


def test_an_encrypted_mp4_is_called_so(videos: dict[str, Path], tmp_path: Path) -> None:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0123456789abcdef" * 2, "encryption_kid": "a7" * 16}
    with (
        av.open(str(videos["h264_b_frames.mp4"])) as original,
        av.open(str(tmp_path / "a.mp4"), "w", options=key) as encrypted,
    ):
        copy = encrypted.add_stream_from_template(original.streams.video[0])
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = copy
                encrypted.mux(packet)
    with pytest.raises(DecodeError, match="encrypted: .*remove the protection"):
        probe_video(tmp_path / "a.mp4")


def test_an_encrypted_matroska_file_is_called_so(tmp_path: Path) -> None:
    """In place of the name of its track, it has the identity of a key (RFC 9559, section 5.1.4.1.31)."""
    path, name = tmp_path / "a.mkv", b"N" * 40
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.metadata["title"] = 64, 96, "yuv420p", name.decode()
        for pixels in numbered_frames(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    key = _ebml(b"\x47\xe2", b"\1" * 16)
    encryption = _ebml(b"\x62\x40", _ebml(b"\x50\x33", b"\1") + _ebml(b"\x50\x35", key))
    encodings = _ebml(b"\x6d\x80", encryption)
    whole = _ebml(b"\x53\x6e", name)
    padding = _ebml(b"\xec", bytes(len(whole) - len(encodings) - 2))
    assert path.read_bytes().count(whole) == 1
    path.write_bytes(path.read_bytes().replace(whole, encodings + padding))
    with pytest.raises(DecodeError, match="encrypted: "):
        probe_video(path)


def _ebml(identity: bytes, content: bytes) -> bytes:
    """An element of Matroska of less than 127 bytes."""
    return identity + bytes([0x80 | len(content)]) + content


def test_a_protected_wmv_file_is_called_so(tmp_path: Path) -> None:
    """Its header has one object more, of content encryption (ASF specification, section 3.14)."""
    path = write_frames(tmp_path / "a.wmv", numbered_frames(60), "wmv2")
    data = path.read_bytes()
    size, count = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:28], "little")
    fields = b"".join(len(text).to_bytes(4, "little") + text for text in (b"secret", b"DRM\0", b"key\0", b"url\0"))
    added = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + (24 + len(fields)).to_bytes(8, "little") + fields
    header = data[:16] + (size + len(added)).to_bytes(8, "little") + (count + 1).to_bytes(4, "little") + data[28:size]
    path.write_bytes(header + added + data[size:])
    with pytest.raises(DecodeError, match="encrypted: "):
        probe_video(path)


@pytest.mark.parametrize("name", ["a.ts", "a.vob"])
def test_a_scrambled_broadcast_or_disc_is_called_so(tmp_path: Path, name: str) -> None:
    whole = write_frames(tmp_path / name, numbered_frames(80), "mpeg2video")
    data, noise = bytearray(whole.read_bytes()), np.random.default_rng(0).integers(0, 256, 2048, np.uint8).tobytes()
    if name == "a.ts":
        for start in range(0, len(data), 188):
            if int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF >= 0x20:
                data[start + 3] |= 0x80
                data[start + 100 : start + 188] = noise[:88]
    else:
        for start in range(0, len(data), 2048):
            data[start + 20] |= 0x30
            data[start + 128 : start + 2048] = noise[128:]
    whole.write_bytes(data)
    with pytest.raises(DecodeError, match="encrypted: "):
        probe_video(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\1\0\0\0\0", "of a kind that is not read"),
        (b"this is not a video\n" * 40, "another kind of file, or its start is damaged"),
    ],
)
def test_a_file_that_cannot_be_opened_is_explained_in_plain_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=words) as caught:
        probe_video(path)
    assert caught.value.reason in REASONS and "Invalid" not in str(caught.value)


@pytest.mark.parametrize("aspect", [Fraction(1, 1000), Fraction(500, 1)])
def test_an_absurd_pixel_aspect_is_ignored(tmp_path: Path, aspect: Fraction) -> None:
    info = probe_video(write_video(tmp_path / "a.mp4", 10, aspect=aspect, options=B_FRAMES))
    assert (info.height, info.width) == (64, 96)
