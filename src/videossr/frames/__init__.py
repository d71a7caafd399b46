"""The frame store: evenly spaced frames of every video at model size, in tar shards with an index, read-only.

On disk: `index.parquet` (one row a video), `shard-00000.tar` ... (JPEG, quality 95, full chroma: the frames are small,
and half the chroma costs 3 dB). The bytes depend on the videos and `FramesParams` alone, never on the number of
workers.
"""

from videossr.decode import Clip
from videossr.frames.choice import SIZE_FACTOR, FramesParams, choose_frames, fitted_size
from videossr.frames.store import FrameStore
from videossr.frames.tables import read_quarantine, write_quarantine, write_table
from videossr.frames.writing import write_store

__all__ = [
    "SIZE_FACTOR",
    "Clip",
    "FrameStore",
    "FramesParams",
    "choose_frames",
    "fitted_size",
    "read_quarantine",
    "write_quarantine",
    "write_store",
    "write_table",
]
