"""The frame store: evenly spaced frames of every video at model size, in tar shards with an index, read-only.

On disk: `index.parquet` (one row a video), `shard-00000.tar` ... (JPEG, quality 95, full chroma: the frames are small,
and half the chroma costs 3 dB). The bytes depend on the videos and `FramesParams` alone, never on the number of
workers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from videossr.decode import Clip
from videossr.frames.choice import SIZE_FACTOR, FramesParams, choose_frames, fitted_size

if TYPE_CHECKING:
    from videossr.frames.store import FrameStore
    from videossr.frames.tables import read_quarantine, told_where_full, write_quarantine, write_table
    from videossr.frames.writing import write_store

__all__ = [
    "SIZE_FACTOR",
    "Clip",
    "FrameStore",
    "FramesParams",
    "choose_frames",
    "fitted_size",
    "read_quarantine",
    "told_where_full",
    "write_quarantine",
    "write_store",
    "write_table",
]

_LATE = {
    "FrameStore": "store",
    "read_quarantine": "tables",
    "told_where_full": "tables",
    "write_quarantine": "tables",
    "write_table": "tables",
    "write_store": "writing",
}


def __getattr__(name: str) -> Any:
    """What needs tables is imported when it is first asked for: processes that only read videos never do (40 MB)."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
