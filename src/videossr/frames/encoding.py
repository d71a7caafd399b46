"""Frames as they are stored: JPEG."""

import cv2

from videossr.decode.clip import Pixels

# Half the chroma would cost 3 dB of these small frames. simplejpeg reads faster, but writes with a coarser transform
# (0.4 dB) and with tables that fit no frame in particular (3 % of the bytes at 320x192, 13 % at 64x64).
_HOW = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
]


def encode_jpeg(frame: Pixels) -> bytes:
    """A frame uint8 [H,W,3] RGB as a JPEG file of quality 95, full chroma, with Huffman tables of its own."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _HOW)[1])
