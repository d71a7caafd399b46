"""Recognise scrambled broadcasts and discs: their containers can be read, and their frames cannot."""

from pathlib import Path

_HEAD_BYTES = 4 * 2**20
_SYNC = 0x47  # starts each packet of MPEG-TS
_PACK = b"\0\0\1\xba"  # starts each pack of MPEG-PS
_SECTOR = 2048  # the length of a pack on a disc


def is_scrambled(path: Path) -> bool:
    """Whether most packets with content at the start of an MPEG-TS file or an MPEG-PS file of a disc are scrambled.

    The marks are transport_scrambling_control and PES_scrambling_control (ISO 13818-1, tables 2-3 and 2-21).
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_PACK):
        marks = [
            head[start + 20] & 0x30 for start in range(0, len(head) - _SECTOR + 1, _SECTOR) if _is_pes(head, start)
        ]
    else:
        marks = _transport_marks(head)
    return sum(map(bool, marks)) > len(marks) / 2


def _is_pes(head: bytes, start: int) -> bool:
    """Whether the pack at `start` holds a packet of video or audio right after its header of 14 bytes."""
    return head[start : start + 4] == _PACK and head[start + 14 : start + 17] == b"\0\0\1" and head[start + 17] >= 0xBD


def _transport_marks(head: bytes) -> list[int]:
    """The scrambling control of each packet with a payload that is not a table; none where `head` is not MPEG-TS."""
    for length, offset in ((188, 0), (192, 4)):
        starts = range(offset, len(head) - length + 1, length)
        if len(starts) > 4 and all(head[start] == _SYNC for start in starts[:5]):
            return [
                head[start + 3] & 0xC0
                for start in starts
                if head[start + 3] & 0x10 and int.from_bytes(head[start + 1 : start + 3], "big") & 0x1FFF >= 0x20
            ]
    return []
