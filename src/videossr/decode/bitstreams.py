"""What the headers of compressed frames say: whether a frame is shown, and whether H.264 frames may be out of order."""

from dataclasses import dataclass

# Profiles whose parameter set has fields for chroma (ITU-T H.264, section 7.3.2.1.1).
_PROFILES_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_SLICES = (1, 5)  # types of the units that hold a picture
_B_SLICE = 1


class _Bits:
    """Reads numbers from the bits of a unit of H.264, without its emulation prevention bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._position = 0

    def read(self, count: int) -> int:
        """An unsigned number of `count` bits. Raises ValueError at the end of the data."""
        first, last = self._position // 8, (self._position + count + 7) // 8
        if last > len(self._data):
            raise ValueError("the unit ends early")
        number = int.from_bytes(self._data[first:last], "big") >> (last * 8 - self._position - count)
        self._position += count
        return number & (1 << count) - 1

    def read_golomb(self) -> int:
        """An unsigned Exp-Golomb number (section 9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("not an Exp-Golomb number")
        return (1 << zeros) - 1 + self.read(zeros)

    def read_signed_golomb(self) -> int:
        number = self.read_golomb()
        return (number + 1) // 2 if number % 2 else -number // 2


@dataclass(frozen=True)
class H264Header:
    """What the `avcC` header of an MP4 or Matroska file says about its H.264 stream.

    `has_fields` where a picture may be one field of two; `keeps_order` where frames are shown in decoding order.
    """

    length_bytes: int
    has_fields: bool
    keeps_order: bool


def read_h264_header(extradata: bytes) -> H264Header | None:
    """The header of an H.264 stream in an MP4 or Matroska file; None where there is none, or it cannot be read."""
    if len(extradata) < 8 or extradata[0] != 1 or extradata[5] & 0x1F != 1:
        return None
    length = int.from_bytes(extradata[6:8], "big")
    try:
        order_type, only_frames = _read_sequence_parameters(_Bits(extradata[9 : 8 + length]))
    except ValueError:
        return None
    return H264Header((extradata[4] & 3) + 1, not only_frames, order_type == 2)


def _read_sequence_parameters(bits: _Bits) -> tuple[int, bool]:
    """(pic_order_cnt_type, frame_mbs_only_flag) of a sequence parameter set (section 7.3.2.1.1)."""
    profile = bits.read(8)
    bits.read(16)
    bits.read_golomb()
    if profile in _PROFILES_WITH_CHROMA:
        chroma = bits.read_golomb()
        if chroma == 3:
            bits.read(1)
        bits.read_golomb()
        bits.read_golomb()
        bits.read(1)
        if bits.read(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.read_golomb()
    order_type = bits.read_golomb()
    if order_type == 0:
        bits.read_golomb()
    elif order_type == 1:
        bits.read(1)
        bits.read_signed_golomb()
        bits.read_signed_golomb()
        for _ in range(bits.read_golomb()):
            bits.read_signed_golomb()
    bits.read_golomb()
    bits.read(1)
    bits.read_golomb()
    bits.read_golomb()
    return order_type, bool(bits.read(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.read_signed_golomb()) % 256
        last = following or last


def is_h264_b_frame(packet: memoryview, length_bytes: int) -> bool:
    """Whether the first slice of an H.264 packet is bidirectional; also True where no slice is found."""
    position = 0
    while position + length_bytes < len(packet):
        length = int.from_bytes(packet[position : position + length_bytes], "big")
        position += length_bytes
        if packet[position] & 0x1F in _SLICES:
            bits = _Bits(bytes(packet[position + 1 : position + 20]))
            try:
                bits.read_golomb()
                return bits.read_golomb() % 5 == _B_SLICE
            except ValueError:
                return True
        position += length
    return True


def is_never_shown(codec: str, packet: memoryview) -> bool:
    """Whether a VP8 or VP9 packet holds nothing but a reference frame that is never shown.

    VP8 stores it in a packet of its own (RFC 6386, section 9.1). VP9 joins it with the next frame (a superframe, VP9
    specification, annex B), but some writers do not.
    """
    if codec == "vp8":
        return not packet[0] & 0x10
    if codec != "vp9" or _is_superframe(packet):
        return False
    bits = _Bits(bytes(packet[:2]) + b"\0")
    bits.read(2)
    if bits.read(2) == 3:  # profile 3 has one more bit
        bits.read(1)
    shows_existing, _, is_shown = bits.read(1), bits.read(1), bits.read(1)
    return not shows_existing and not is_shown


def _is_superframe(packet: memoryview) -> bool:
    """Whether a VP9 packet ends with an index of several frames, whose first byte is also its last (annex B)."""
    marker = packet[-1]
    num_frames, length_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    size = 2 + num_frames * length_bytes
    return marker & 0xE0 == 0xC0 and len(packet) >= size and packet[-size] == marker
